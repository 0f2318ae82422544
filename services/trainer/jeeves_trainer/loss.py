"""The loss of a micro batch: nats on the answer tokens, with as little work as that takes.

A vocabulary of 49,152 makes the logits the most expensive tensor of a small model. Logits are made for labelled
positions only; trl's fused head does so on GPUs and scores every position on a CPU.

With `prompt_gradient` off, the prompt is read without a tape and only its keys and values are kept, so that the
backward pass touches the answer's tokens alone: the adapter still acts on the prompt, but is not changed through it.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from jeeves_trainer.batches import IGNORED, Batch

if TYPE_CHECKING:
    from peft import PeftModel


def causal_model(model: Any) -> Any:
    """The causal language model inside an adapter, or the model itself."""
    inside = getattr(model, "get_base_model", None)
    return inside() if inside else model


def answer_loss_sum(model: "PeftModel", batch: Batch, *, bfloat16: bool, prompt_gradient: bool) -> torch.Tensor:
    """Sum over the labelled tokens of their negative log-probability.

    Args:
        model: a causal language model with a separate backbone and head, with an adapter or without.
        batch: B rows, P prompt columns, A answer columns.
        bfloat16: compute in bfloat16 where torch's autocast deems it safe.
        prompt_gradient: also change the model through what the prompt's tokens compute.

    Returns:
        Scalar, nats, float32.
    """
    logits, labels, _ = _labelled_logits(model, batch, bfloat16=bfloat16, prompt_gradient=prompt_gradient)
    return cross_entropy(logits, labels, reduction="sum")


def answer_log_probabilities(
    model: "PeftModel", batch: Batch, *, bfloat16: bool, prompt_gradient: bool
) -> torch.Tensor:
    """Log-probability of each row's labelled tokens together, shape (B,), nats, float32; arguments as above."""
    logits, labels, rows = _labelled_logits(model, batch, bfloat16=bfloat16, prompt_gradient=prompt_gradient)
    each = -cross_entropy(logits, labels, reduction="none")
    return torch.zeros(len(batch.labels), device=each.device).index_add(0, rows, each)


def _labelled_logits(
    model: Any, batch: Batch, *, bfloat16: bool, prompt_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of the N labelled positions, shape (N, vocabulary), float32; their labels and their rows, shape (N,)."""
    causal = causal_model(model)
    batch = batch.to(causal.device)
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=bfloat16):
        # The column before the first answer token predicts that token; the last column predicts nothing.
        split = batch.prompt_columns - 1
        hidden = _hidden_whole(causal, batch, split) if prompt_gradient else _hidden_answer(causal, batch, split)
        labels = batch.labels[:, split + 1 :]
        labelled = labels != IGNORED
        logits = causal.get_output_embeddings()(hidden[labelled])
        return logits.float(), labels[labelled], labelled.nonzero()[:, 0]


def _hidden_whole(causal: Any, batch: Batch, split: int) -> torch.Tensor:
    """Hidden states of columns split … P + A − 2, shape (B, A, width), with gradients through all columns."""
    states = causal.base_model(
        input_ids=batch.input_ids,
        attention_mask=batch.model_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    hidden: torch.Tensor = states[:, split:-1]
    return hidden


def _hidden_answer(causal: Any, batch: Batch, split: int) -> torch.Tensor:
    """As `_hidden_whole`, with gradients through columns split … P + A − 2 only."""
    past = None
    if split > 0:
        with torch.no_grad():
            past = causal.base_model(
                input_ids=batch.input_ids[:, :split],
                attention_mask=batch.attention_mask[:, :split],
                position_ids=batch.position_ids[:, :split],
                use_cache=True,
            ).past_key_values
    hidden: torch.Tensor = causal.base_model(
        input_ids=batch.input_ids[:, split:-1],
        attention_mask=batch.attention_mask[:, :-1],
        position_ids=batch.position_ids[:, split:-1],
        past_key_values=past,
        use_cache=past is not None,
    ).last_hidden_state
    return hidden


@torch.no_grad()
def mean_answer_loss(model: "PeftModel", batches: list[Batch], *, bfloat16: bool) -> float:
    """Nats per answer token over all batches, every token counting the same.

    Args:
        model: put into evaluation mode for the time.
        batches: at least one, with labels.
        bfloat16: as in `answer_loss_sum`.
    """
    was_training = model.training
    model.eval()
    try:
        total = sum(float(answer_loss_sum(model, batch, bfloat16=bfloat16, prompt_gradient=True)) for batch in batches)
    finally:
        model.train(was_training)
    return total / sum(batch.label_count for batch in batches)
