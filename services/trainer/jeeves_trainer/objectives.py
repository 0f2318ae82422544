"""What a stage minimizes: the answers' tokens, or the preference for the better of two answers."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import logsigmoid

from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_trainer.batches import Batch
from jeeves_trainer.loss import answer_log_probabilities, answer_loss_sum, mean_answer_loss


class Objective(Protocol):
    """The loss of a stage."""

    def loss_sum(self, model: Any, batch: Batch) -> torch.Tensor:
        """Loss of a micro batch, summed over its items (see `Layout.items`); a scalar, float32."""

    def held_out(self, model: Any, batches: Sequence[Batch]) -> dict[str, float]:
        """Figures on held-out batches, with `eval_loss` among them."""


class AnswerObjective:
    """Of `cpt` and `sft`: nats per labelled token.

    Args:
        bfloat16, prompt_gradient: as in `answer_loss_sum`.
    """

    def __init__(self, *, bfloat16: bool, prompt_gradient: bool) -> None:
        self._bfloat16 = bfloat16
        self._prompt_gradient = prompt_gradient

    def loss_sum(self, model: Any, batch: Batch) -> torch.Tensor:
        """Nats on the labelled tokens."""
        return answer_loss_sum(model, batch, bfloat16=self._bfloat16, prompt_gradient=self._prompt_gradient)

    def held_out(self, model: Any, batches: Sequence[Batch]) -> dict[str, float]:
        """Nats per labelled token."""
        return {"eval_loss": mean_answer_loss(model, list(batches), bfloat16=self._bfloat16)}


class PreferenceObjective:
    """Of `dpo`: the better answer shall gain on the worse one, against the model that the stage started from.

    That model is the one with its adapter switched off, so no second copy is kept. Batches hold all better answers,
    then all worse ones in the same order.

    Args:
        beta: inverse temperature, above 0.
        bfloat16, prompt_gradient: as in `answer_loss_sum`.

    Source: Rafailov et al., Direct Preference Optimization, equation 7.
    """

    def __init__(self, beta: float, *, bfloat16: bool, prompt_gradient: bool) -> None:
        self._beta = beta
        self._bfloat16 = bfloat16
        self._prompt_gradient = prompt_gradient

    def loss_sum(self, model: Any, batch: Batch) -> torch.Tensor:
        """-log σ(β · margin), summed over the pairs."""
        return -logsigmoid(self._beta * self._margins(model, batch, self._prompt_gradient)).sum()

    @torch.no_grad()
    def held_out(self, model: Any, batches: Sequence[Batch]) -> dict[str, float]:
        """Loss per pair, and the share of pairs whose better answer gained on the worse one."""
        was_training = model.training
        model.eval()
        try:
            margins = torch.cat([self._margins(model, batch, True).cpu() for batch in batches])
        finally:
            model.train(was_training)
        return {
            "eval_loss": float(-logsigmoid(self._beta * margins).mean()),
            "eval_accuracy": float((margins > 0).float().mean()),
        }

    def _margins(self, model: Any, batch: Batch, prompt_gradient: bool) -> torch.Tensor:
        """Gain of the better answer's log-probability over the worse one's, shape (pairs,), nats."""
        ours = answer_log_probabilities(model, batch, bfloat16=self._bfloat16, prompt_gradient=prompt_gradient)
        with torch.no_grad(), model.disable_adapter():
            reference = answer_log_probabilities(model, batch, bfloat16=self._bfloat16, prompt_gradient=True)
        better, worse = (ours - reference).chunk(2)
        return better - worse


def objective_of(recipe: TrainRecipe) -> Objective:
    """The objective of a recipe's stage."""
    bfloat16 = recipe.dtype == "bfloat16"
    if recipe.stage == "dpo":
        return PreferenceObjective(recipe.preference_beta, bfloat16=bfloat16, prompt_gradient=recipe.prompt_gradient)
    return AnswerObjective(bfloat16=bfloat16, prompt_gradient=recipe.prompt_gradient)
