"""Which held-out samples a file is judged on: a fixed choice, the same for every file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.recipes import EvaluateRecipe
from jeeves_trainer.errors import EvaluationFailed


@dataclass(frozen=True)
class EvaluationSet:
    """The samples of one evaluation.

    Attributes:
        loss: answerable, with the passages that retrieval found; scored with them and closed book.
        questions: answerable, with key terms; to be answered with their passages.
        refusals: questions outside of the knowledge, whose right answer is a refusal.
    """

    loss: tuple[TrainingSample, ...]
    questions: tuple[TrainingSample, ...]
    refusals: tuple[TrainingSample, ...]


def choose_samples(samples: Sequence[TrainingSample], recipe: EvaluateRecipe) -> EvaluationSet:
    """Choose the samples of an evaluation, by the hash of their ids: independent of their order.

    Args:
        samples: the frozen evaluation set of a data set.
        recipe: how many of each.

    Raises:
        EvaluationFailed: there is nothing to ask.
    """
    ordered = sorted(samples, key=lambda sample: hashlib.sha256(sample.pair.id.encode()).digest())
    answerable = [sample for sample in ordered if sample.answerable and sample.passages]
    with_facts = [sample for sample in answerable if sample.pair.key_terms]
    chosen = EvaluationSet(
        loss=tuple(answerable[: recipe.loss_samples_max]),
        questions=tuple(with_facts[: recipe.generation_samples_max]),
        # Not those whose page retrieval merely missed: an answer from a neighbouring page may be right.
        refusals=tuple([sample for sample in ordered if sample.pair.kind == "refusal"][: recipe.refusal_samples_max]),
    )
    if not chosen.loss or not chosen.questions:
        raise EvaluationFailed(
            f"Of {len(samples)} held-out samples {len(chosen.loss)} can be scored and {len(chosen.questions)} asked: "
            "the data set needs answerable samples with passages and key terms."
        )
    return chosen
