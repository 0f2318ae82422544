"""What one file does on the evaluation set; kept, so that neither a restarted nor a later job asks it again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.prompts import build_messages
from jeeves_shared.contracts.recipes import EvaluateRecipe
from jeeves_shared.measures.bootstrap import Measured, MetricName, mean_of
from jeeves_shared.measures.refusals import refuses_rightly
from jeeves_shared.measures.similarity import Similarity
from jeeves_shared.measures.texts import rouge_l, terms_present, token_f1
from jeeves_trainer.answer_loss import AnswerLoss, AnswerText, fits, score_answers
from jeeves_trainer.evaluation_set import EvaluationSet
from jeeves_trainer.gate import ANSWER_LOSS, CLOSED_BOOK_LOSS, KEY_FACTS, REFUSALS, ROUGE_L, SIMILARITY, TOKEN_F1
from jeeves_trainer.generation import Prompt, engine_spec, render_prompts, write_answers
from jeeves_trainer.layout import findings_file
from jeeves_trainer.libllama import open_vocabulary
from jeeves_trainer.settings import job_threads

METRICS = (
    MetricName(ANSWER_LOSS, "nats/token", higher_is_better=False),
    MetricName(CLOSED_BOOK_LOSS, "nats/token", higher_is_better=False),
    MetricName(KEY_FACTS, "share", higher_is_better=True),
    MetricName(TOKEN_F1, "share", higher_is_better=True),
    MetricName(ROUGE_L, "share", higher_is_better=True),
    MetricName(SIMILARITY, "share", higher_is_better=True),
    MetricName(REFUSALS, "share", higher_is_better=True),
)

Report = Callable[[float, str], None]
"""Told the share of this file's work that is done, in [0, 1], and what is being done."""

_LOSS_SHARE = 0.4
"""Of a file's time; writing answers takes the rest."""


@dataclass(frozen=True)
class JudgedTexts:
    """Prompts as the engine renders them, for the loss."""

    with_passages: tuple[AnswerText, ...]
    closed_book: tuple[AnswerText, ...]


@dataclass(frozen=True)
class FileResult:
    """What one file did.

    Attributes:
        loss, closed_book_loss: per sample of `EvaluationSet.loss`.
        answers: to `EvaluationSet.questions`.
        refusals: to `EvaluationSet.refusals`.
    """

    loss: list[AnswerLoss]
    closed_book_loss: list[AnswerLoss]
    answers: list[str]
    refusals: list[str]

    def measured(self, chosen: EvaluationSet, similarity: Similarity | None) -> dict[str, Measured]:
        """Figures by metric name; a metric without samples is left out.

        Args:
            chosen: the set that this result is of.
            similarity: from `load_similarity`; None leaves the metric out.
        """
        questions = list(zip(self.answers, (sample.pair for sample in chosen.questions), strict=True))
        figures = {
            ANSWER_LOSS: _loss(self.loss),
            CLOSED_BOOK_LOSS: _loss(self.closed_book_loss),
            KEY_FACTS: mean_of([terms_present(answer, pair.key_terms) for answer, pair in questions]),
            TOKEN_F1: mean_of([token_f1(answer, pair.answer) for answer, pair in questions]),
            ROUGE_L: mean_of([rouge_l(answer, pair.answer) for answer, pair in questions]),
        }
        if similarity is not None:
            figures[SIMILARITY] = mean_of([similarity(answer, pair.answer) for answer, pair in questions])
        if self.refusals:
            pairs = (sample.pair for sample in chosen.refusals)
            figures[REFUSALS] = mean_of(
                [
                    float(refuses_rightly(answer, pair.must_not))
                    for answer, pair in zip(self.refusals, pairs, strict=True)
                ]
            )
        return figures


def _loss(losses: Sequence[AnswerLoss]) -> Measured:
    nats, tokens = mean_of([loss.nats for loss in losses]), mean_of([float(loss.tokens) for loss in losses])
    return Measured(nats.numerators, tokens.numerators)


class Judge:
    """Judges files on one evaluation set.

    Args:
        recipe: of the evaluation.
        chosen: the samples.
        texts: of `chosen.loss`, from `render_texts`.
        work_dir: for results and the engine's logs.
    """

    def __init__(self, recipe: EvaluateRecipe, chosen: EvaluationSet, texts: JudgedTexts, work_dir: Path) -> None:
        self._recipe = recipe
        self._chosen = chosen
        self._texts = texts
        self._work_dir = work_dir
        self._threads = job_threads()

    def judge(self, gguf: Path, sha256: str, report: Report) -> FileResult:
        """Score and ask one file, or read what an earlier attempt found.

        Args:
            gguf: the file.
            sha256: of its bytes.
            report: progress of this file.

        Raises:
            EngineError, EvaluationFailed: the file cannot be run.
        """
        texts = (*self._texts.with_passages, *self._texts.closed_book)
        samples = (*self._chosen.questions, *self._chosen.refusals)
        prompts = [build_messages(sample.pair.question, sample.passages) for sample in samples]
        saved = findings_file(self._work_dir, "held-out", self._asked(sha256, texts, prompts))
        if saved.is_file():
            return _read_result(saved)
        losses = score_answers(
            gguf,
            texts,
            context_tokens=self._recipe.context_tokens,
            threads=self._threads,
            on_answer=lambda done: report(_LOSS_SHARE * done / len(texts), f"answer loss {done}/{len(texts)}"),
        )
        spec = engine_spec(
            gguf,
            self._work_dir / "engine.log",
            slots=self._recipe.slots,
            context_tokens=self._recipe.context_tokens,
            threads=self._threads,
        )
        answers = write_answers(
            spec,
            prompts,
            self._recipe.answer_tokens_max,
            lambda done: report(
                _LOSS_SHARE + (1 - _LOSS_SHARE) * done / len(samples), f"answers {done}/{len(samples)}"
            ),
        )
        scored, asked = len(self._texts.with_passages), len(self._chosen.questions)
        result = FileResult(losses[:scored], losses[scored:], answers[:asked], answers[asked:])
        saved.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(saved, json.dumps(asdict(result)).encode())
        return result

    def _asked(self, sha256: str, texts: Sequence[AnswerText], prompts: Sequence[Prompt]) -> dict[str, Any]:
        recipe = self._recipe
        return {
            "file": sha256,
            "texts": [asdict(text) for text in texts],
            "closed_book": len(self._texts.closed_book),
            "prompts": [list(prompt) for prompt in prompts],
            "refusals": len(self._chosen.refusals),
            "limits": [recipe.answer_tokens_max, recipe.slots, recipe.context_tokens],
        }


def render_texts(
    gguf: Path, samples: Sequence[TrainingSample], work_dir: Path, recipe: EvaluateRecipe
) -> tuple[JudgedTexts, list[bool]]:
    """Prompts of samples, with their passages and without, as the engine renders them.

    Args:
        gguf: a file whose template counts; the trainer has checked that all files share it.
        samples: to render.
        work_dir: for the engine's log.
        recipe: of the evaluation.

    Returns:
        The texts of the samples that fit the context, and for each sample whether it did.

    Raises:
        EngineError, EvaluationFailed: the engine does not run.
    """
    spec = engine_spec(gguf, work_dir / "engine.log", slots=1, context_tokens=recipe.context_tokens, threads=1)
    prompts = [build_messages(sample.pair.question, sample.passages) for sample in samples]
    prompts += [build_messages(sample.pair.question, ()) for sample in samples]
    rendered = render_prompts(spec, prompts)
    texts = [
        AnswerText(prompt, sample.pair.answer.strip())
        for prompt, sample in zip(rendered, (*samples, *samples), strict=True)
    ]
    with open_vocabulary(gguf) as vocabulary:
        fitting = [fits(vocabulary, text, recipe.context_tokens) for text in texts[: len(samples)]]
    with_passages = [text for text, fit in zip(texts[: len(samples)], fitting, strict=True) if fit]
    closed_book = [text for text, fit in zip(texts[len(samples) :], fitting, strict=True) if fit]
    return JudgedTexts(tuple(with_passages), tuple(closed_book)), fitting


def _read_result(path: Path) -> FileResult:
    raw = json.loads(path.read_text(encoding="utf-8"))
    return FileResult(
        loss=[AnswerLoss(**loss) for loss in raw["loss"]],
        closed_book_loss=[AnswerLoss(**loss) for loss in raw["closed_book_loss"]],
        answers=raw["answers"],
        refusals=raw["refusals"],
    )
