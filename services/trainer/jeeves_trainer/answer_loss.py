"""Held-out answer loss of a GGUF file, by the engine's own library, on the prompt text that the engine renders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jeeves_trainer.libllama import Scorer, Vocabulary, open_scorer


@dataclass(frozen=True)
class AnswerText:
    """A prompt as the engine renders it, and the right answer to it, without an end token."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class AnswerLoss:
    """Loss of one answer.

    Attributes:
        nats: sum over the answer's tokens of their negative log-probability, its end token included.
        tokens: number of those tokens, at least 1.
    """

    nats: float
    tokens: int


def fits(vocabulary: Vocabulary, text: AnswerText, context_tokens: int) -> bool:
    """True if prompt and answer fit a context."""
    return len(vocabulary.tokenize(text.prompt)) + len(vocabulary.tokenize(text.answer)) + 1 <= context_tokens


def score_answer(scorer: Scorer, text: AnswerText) -> AnswerLoss:
    """Loss of one answer after its prompt.

    Raises:
        EvaluationFailed: too long for the context.
    """
    vocabulary = scorer.vocabulary
    answer = [*vocabulary.tokenize(text.answer), vocabulary.end_token]
    log_probabilities = scorer.answer_log_probabilities(vocabulary.tokenize(text.prompt), answer)
    return AnswerLoss(nats=-float(log_probabilities.sum()), tokens=len(answer))


def score_answers(
    gguf: Path, texts: Sequence[AnswerText], *, context_tokens: int, threads: int, on_answer: Callable[[int], None]
) -> list[AnswerLoss]:
    """Losses of answers under one file.

    Args:
        gguf: any quantization.
        texts: each fits the context.
        context_tokens: of prompt and answer together.
        threads: at least 1.
        on_answer: called with the number of answers so far; may raise to stop.

    Raises:
        EvaluationFailed: the file cannot be loaded or a text is too long.
    """
    losses: list[AnswerLoss] = []
    with open_scorer(gguf, context_tokens, threads) as scorer:
        for text in texts:
            losses.append(score_answer(scorer, text))
            on_answer(len(losses))
    return losses
