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


def answer_loss_sum(model: "PeftModel", batch: Batch, *, bfloat16: bool, prompt_gradient: bool) -> torch.Tensor:
    """Sum over the labelled tokens of their negative log-probability.

    Args:
        model: adapter on a causal language model with a separate backbone and head.
        batch: B rows, P prompt columns, A answer columns.
        bfloat16: compute in bfloat16 where torch's autocast deems it safe.
        prompt_gradient: also change the adapter through what the prompt's tokens compute.

    Returns:
        Scalar, nats, float32.
    """
    causal: Any = model.get_base_model()
    batch = batch.to(causal.device)
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=bfloat16):
        # The column before the first answer token predicts that token; the last column predicts nothing.
        split = batch.prompt_columns - 1
        hidden = _hidden_whole(causal, batch, split) if prompt_gradient else _hidden_answer(causal, batch, split)
        labels = batch.labels[:, split + 1 :]
        labelled = labels != IGNORED
        logits = causal.get_output_embeddings()(hidden[labelled])
        return cross_entropy(logits.float(), labels[labelled], reduction="sum")


def _hidden_whole(causal: Any, batch: Batch, split: int) -> torch.Tensor:
    """Hidden states of columns split … P + A − 2, shape (B, A, width), with gradients through all columns."""
    states = causal.base_model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
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
