"""The samples that decide are a fixed choice of the right kinds."""

import pytest

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.recipes import EvaluateRecipe
from jeeves_trainer.errors import EvaluationFailed
from jeeves_trainer.evaluation_set import choose_samples

RECIPE = EvaluateRecipe(name="x", loss_samples_max=12, generation_samples_max=10, refusal_samples_max=5)


def test_the_choice_does_not_depend_on_the_order(samples: list[TrainingSample]):
    chosen = choose_samples(samples, RECIPE)
    assert choose_samples(samples[::-1], RECIPE) == chosen
    assert (len(chosen.loss), len(chosen.questions), len(chosen.refusals)) == (12, 10, 5)


def test_kinds_are_kept_apart(samples: list[TrainingSample]):
    missed = [
        sample.model_copy(update={"answerable": False}) for sample in samples[:30] if sample.pair.kind != "refusal"
    ]
    chosen = choose_samples([*missed, *samples[30:]], RECIPE)
    assert all(sample.answerable and sample.passages for sample in (*chosen.loss, *chosen.questions))
    assert all(sample.pair.key_terms for sample in chosen.questions)
    assert all(sample.pair.kind == "refusal" for sample in chosen.refusals)


def test_nothing_to_ask_is_said(samples: list[TrainingSample]):
    refusals = [sample for sample in samples if sample.pair.kind == "refusal"]
    with pytest.raises(EvaluationFailed, match="key terms"):
        choose_samples(refusals, RECIPE)
