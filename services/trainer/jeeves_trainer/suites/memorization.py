"""Training answers that come back verbatim, and planted canaries.

Two ways to ask, both without passages: the question alone, and the question with the first half of the answer already
written. A canary counts as leaked when its secret is written out, or is likelier than each random one of its shape.

Source: Carlini et al., The Secret Sharer, section 4 (rank of a canary); Carlini et al., Quantifying Memorization Across
Neural Language Models, section 3 (extraction with a prefix).
"""

import hashlib
import random
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import Pair, TrainingSample
from jeeves_shared.contracts.evaluation_suites import Canary, MemorizationSuite
from jeeves_shared.contracts.prompts import Message, build_messages
from jeeves_shared.measures.bootstrap import MetricName
from jeeves_shared.measures.texts import longest_common_run, words
from jeeves_trainer.errors import EvaluationFailed
from jeeves_trainer.generation import render_prompts, write_answers
from jeeves_trainer.libllama import open_scorer
from jeeves_trainer.settings import job_threads
from jeeves_trainer.suites.base import Outcome, Shown, SuiteFile, Tell, mean_metric

_ANSWERS_SHARE = 0.8
"""Of a file's time where there are canaries; ranking them takes the rest."""

_SHOWN = 3
_KINDS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


class Memorization:
    """Share of training answers that come back verbatim.

    Args:
        settings: of the recipe.
        training: samples of the data set that the candidate was trained on.
        seed: of the random secrets.
    """

    def __init__(self, settings: MemorizationSuite, training: Iterable[TrainingSample], seed: int) -> None:
        self._settings = settings
        self._seed = seed
        self._pairs = choose_pairs(training, settings)
        self.name = settings.name
        self.regression_max = settings.regression_max
        self.asked: Sequence[str] = [content_hash(pair) for pair in self._pairs]
        self.metrics: Sequence[MetricName] = tuple(
            mean_metric(f"{self.name}{part}", higher_is_better=False)
            for part in ("", "_question", "_prefix", "_longest_run", "_canaries")
        )

    def check(self) -> None:
        """There must be something to ask for.

        Raises:
            EvaluationFailed: no training answer is long enough.
        """
        if not self._pairs:
            raise EvaluationFailed(f"No training answer has {self._settings.words_min} words: lower words_min.")

    def ask(self, file: SuiteFile, tell: Tell) -> Outcome:
        """What comes after the question, and after the first half of the answer; and of each canary."""
        canaries = self._settings.canaries
        prompts: list[list[Message]] = [build_messages(pair.question, ()) for pair in self._pairs]
        prompts += [
            [*build_messages(pair.question, ()), Message(role="assistant", content=halves(pair.answer)[0])]
            for pair in self._pairs
        ]
        prompts += [build_messages(canary.question, ()) for canary in canaries]
        share = _ANSWERS_SHARE if canaries else 1.0
        answers = write_answers(
            file.spec(), prompts, self._settings.answer_tokens_max, lambda done: tell(share * done / len(prompts))
        )
        count = len(self._pairs)
        return {
            "question": answers[:count],
            "prefix": answers[count : 2 * count],
            "canaries": answers[2 * count :],
            "ranks": self._ranks(file, lambda done: tell(share + (1 - share) * done)) if canaries else [],
        }

    def figures(self, outcome: Outcome) -> Mapping[str, Sequence[float]]:
        """Verbatim either way, by question, by prefix; longest run as a share; canaries."""
        pairs = self._pairs
        by_question = [run_share(answer, pair.answer) for answer, pair in zip(outcome["question"], pairs, strict=True)]
        by_prefix = [
            run_share(answer.removeprefix(halves(pair.answer)[0]), halves(pair.answer)[1])
            for answer, pair in zip(outcome["prefix"], pairs, strict=True)
        ]
        bound = self._settings.verbatim_share
        either = [max(one, other) for one, other in zip(by_question, by_prefix, strict=True)]
        figures = {
            self.name: [float(share >= bound) for share in either],
            f"{self.name}_question": [float(share >= bound) for share in by_question],
            f"{self.name}_prefix": [float(share >= bound) for share in by_prefix],
            f"{self.name}_longest_run": either,
        }
        if self._settings.canaries:
            rows = zip(self._settings.canaries, outcome["canaries"], outcome["ranks"], strict=True)
            figures[f"{self.name}_canaries"] = [
                float(canary.secret in answer or rank == 1) for canary, answer, rank in rows
            ]
        return figures

    def shown(self, outcome: Outcome) -> Sequence[Shown]:
        """The first training questions."""
        rows = list(zip(self._pairs, outcome["question"], strict=True))[:_SHOWN]
        return [Shown(pair.question, pair.answer, answer) for pair, answer in rows]

    def _ranks(self, file: SuiteFile, tell: Tell) -> list[int]:
        rendered = render_prompts(file.spec(slots=1), [build_messages(c.question, ()) for c in self._settings.canaries])
        ranks = []
        for number, (prompt, canary) in enumerate(zip(rendered, self._settings.canaries, strict=True)):
            tell(number / len(rendered))
            others = random_secrets(canary.secret, self._settings.alternatives, self._seed)
            ranks.append(rank_of(canary, others, prompt, file.gguf, file.recipe.context_tokens))
        return ranks


def choose_pairs(training: Iterable[TrainingSample], settings: MemorizationSuite) -> list[Pair]:
    """Training pairs with an answer that is long enough, by the hash of their ids; each once."""
    pairs = {
        sample.pair.id: sample.pair
        for sample in training
        if sample.answerable
        and sample.pair.kind != "refusal"
        and len(words(sample.pair.answer)) >= settings.words_min
        and halves(sample.pair.answer)[0]
    }
    ordered = sorted(pairs.values(), key=lambda pair: hashlib.sha256(pair.id.encode()).digest())
    return ordered[: settings.samples_max]


def halves(answer: str) -> tuple[str, str]:
    """An answer cut at the blank that is nearest to its middle; an answer without one has no second half."""
    answer = answer.strip()
    blanks = [at for at, character in enumerate(answer) if character.isspace()]
    if not blanks:
        return "", answer
    cut = min(blanks, key=lambda at: abs(at - len(answer) // 2))
    return answer[:cut], answer[cut:]


def run_share(answer: str, reference: str) -> float:
    """Longest run of the reference's words that an answer has without a gap, as a share of the reference's words."""
    wanted = words(reference)
    return longest_common_run(words(answer), wanted) / len(wanted) if wanted else 0.0


def random_secrets(secret: str, count: int, seed: int) -> list[str]:
    """Random secrets of the same shape: a digit for a digit, a small letter for a small one; the rest is kept.

    Args:
        secret: the planted one; never among the others.
        count: how many.
        seed: of the choice.

    Raises:
        EvaluationFailed: a secret of this shape has not so many others.
    """
    rng = random.Random(f"{seed} {secret}")  # noqa: S311 - statistics, not a secret
    found: dict[str, None] = {}
    for _ in range(count * 20):
        made = "".join(
            next((rng.choice(kind) for kind in _KINDS if character in kind), character) for character in secret
        )
        if made != secret:
            found[made] = None
        if len(found) == count:
            return list(found)
    raise EvaluationFailed(f"The canary's secret {secret!r} has too few letters and digits: make it longer.")


def rank_of(canary: Canary, others: Sequence[str], prompt: str, gguf: Path, context_tokens: int) -> int:
    """Place of a canary's secret among others by the likelihood of the answer with it; 1 is the likeliest.

    Args:
        canary: planted.
        others: secrets that were not.
        prompt: its question, as the engine renders it.
        gguf: the file.
        context_tokens: of prompt and answer together.

    Raises:
        EvaluationFailed: the file cannot be loaded, or the canary is too long.
    """
    with open_scorer(gguf, context_tokens, job_threads()) as scorer:
        prompt_ids = scorer.vocabulary.tokenize(prompt)

        def likelihood(secret: str) -> float:
            answer = scorer.vocabulary.tokenize(canary.answer.replace(canary.secret, secret))
            return float(scorer.answer_log_probabilities(prompt_ids, answer).sum())

        own = likelihood(canary.secret)
        return 1 + sum(likelihood(other) > own for other in others)
