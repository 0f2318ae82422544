"""Attention by blocks on a CPU: what torch's fused kernel computes, with its gradients."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_trainer.batches import Batch, collate, collate_packed
from jeeves_trainer.cpu_attention import NAME, block_attention, use_on_cpu
from jeeves_trainer.loss import answer_loss_sum
from jeeves_trainer.rendering import Renderer

PAD = 2


def reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Torch's own kernel in double precision; shape (B, Q, H, D)."""
    groups = query.shape[1] // key.shape[1]
    repeated = [part.double().repeat_interleave(groups, dim=1) for part in (key, value)]
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query.double(), *repeated, attn_mask=seen, scale=scaling).transpose(1, 2)


@given(
    heads=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)),
    lengths=st.tuples(st.integers(1, 150), st.integers(0, 90), st.integers(0, 40)),
    scaling=st.sampled_from([None, 0.3]),
    taped=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_values_and_gradients_are_those_of_the_fused_kernel(
    heads: tuple[int, int, int], lengths: tuple[int, int, int], scaling: float | None, taped: bool
):
    (rows, shared, groups), (queries, before, pads) = heads, lengths
    keys = queries + before
    generator = torch.Generator().manual_seed(keys)
    query = torch.randn(rows, shared * groups, queries, 8, generator=generator).requires_grad_(taped)
    key, value = (torch.randn(rows, shared, keys, 8, generator=generator).requires_grad_(taped) for _ in range(2))
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(before).repeat(rows, 1, 1, 1)
    seen[0, :, :, : min(pads, keys - 1)] = False  # padded on the left: its first queries see nothing
    sees = seen.any(-1).transpose(1, 2)[..., None]  # (B, Q, 1, 1)

    made, weights = block_attention(torch.nn.Module(), query, key, value, seen, scaling=scaling)
    expected = reference(query, key, value, seen, scaling)
    assert weights is None and bool(made.isfinite().all())
    torch.testing.assert_close(made * sees, (expected * sees).nan_to_num().float(), rtol=1e-4, atol=1e-5)
    if taped:
        direction = torch.randn(made.shape, generator=generator) * sees
        ours = torch.autograd.grad((made * direction).sum(), [query, key, value])
        whole = seen | ~seen.any(-1, keepdim=True)  # rows that see nothing have no gradient of their own
        theirs = torch.autograd.grad(
            (reference(query, key, value, whole, scaling) * direction).sum(), [query, key, value]
        )
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_without_a_mask_each_query_sees_what_came_before():
    query, key, value = torch.randn(3, 2, 4, 130, 16).unbind(0)
    made, _ = block_attention(torch.nn.Module(), query, key, value, None)
    seen = torch.ones(130, 130, dtype=torch.bool).tril()
    torch.testing.assert_close(made, reference(query, key, value, seen, None).float(), rtol=1e-4, atol=1e-5)


def loss_and_gradient(model: Any, batch: Batch, *, prompt_gradient: bool) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = answer_loss_sum(model, batch, bfloat16=False, prompt_gradient=prompt_gradient)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", ["padded", "packed", "answers only"])
def test_a_model_computes_the_same(kind: str, tiny_model, tokenizer, samples: list[TrainingSample]):
    fused, blocks = (AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32) for _ in range(2))
    use_on_cpu(blocks)
    assert (fused.config._attn_implementation, blocks.config._attn_implementation) == ("sdpa", NAME)
    rendered = [Renderer(tokenizer).render(sample) for sample in samples[:5]]
    batch = collate_packed([rendered[:2], rendered[2:]], PAD) if kind == "packed" else collate(rendered, PAD)
    gradient = kind != "answers only"
    (loss, slope), (expected, right) = (
        loss_and_gradient(model, batch, prompt_gradient=gradient) for model in (blocks, fused)
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(slope, right, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        read = answer_loss_sum(blocks, batch, bfloat16=False, prompt_gradient=True)
    assert float(read) == pytest.approx(expected, rel=1e-5)
