"""Packed rows: every sample once, none sees another, and the loss is that of the samples alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_trainer.batches import check_labels, collate, collate_packed
from jeeves_trainer.errors import LabelsWrong
from jeeves_trainer.layouts import Layout, pack, plan_packed
from jeeves_trainer.loss import answer_loss_sum
from jeeves_trainer.rendering import RenderedSample, Renderer

PAD = 2


@given(st.lists(st.integers(1, 100), min_size=1, max_size=200), st.integers(0, 9))
def test_each_sample_once_and_no_row_too_long(lengths: list[int], seed: int):
    plan = plan_packed(lengths, 100, 3, 2, seed)
    rows = [row for batch in plan for row in batch]
    assert sorted(index for row in rows for index in row) == sorted([*range(len(lengths))] * 2)
    assert max(sum(lengths[index] for index in row) for row in rows) <= 100
    assert max(map(len, plan)) <= 3
    assert plan == plan_packed(lengths, 100, 3, 2, seed)


def test_rows_are_nearly_full():
    lengths = [(index * 37) % 61 + 20 for index in range(400)]
    rows = pack(lengths, range(400), 256)
    assert sum(lengths) > 0.93 * 256 * len(rows)


def test_part_of_an_epoch():
    whole = plan_packed([50] * 40, 100, 1, 1, 3)
    assert len(plan_packed([50] * 40, 100, 1, 1.5, 3)) == len(whole) * 1.5
    assert len(plan_packed([50], 100, 1, 0.1, 3)) == 1


@pytest.fixture(scope="module")
def rows(tokenizer, samples: list[TrainingSample]) -> list[RenderedSample]:
    renderer = Renderer(tokenizer)
    return [renderer.render(sample) for sample in samples if not sample.passages][:5]


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def loss_and_gradient(model, batch) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    loss = answer_loss_sum(model, batch, bfloat16=False, prompt_gradient=True)
    loss.backward()
    return float(loss.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_packed_loss_and_gradient_are_those_of_the_samples_alone(model, rows):
    together, packed = loss_and_gradient(model, collate_packed([rows[:3], rows[3:]], PAD))
    apart, padded = loss_and_gradient(model, collate(rows, PAD))
    alone = sum(loss_and_gradient(model, collate([row], PAD))[0] for row in rows)
    assert together == pytest.approx(apart, rel=1e-5) and together == pytest.approx(alone, rel=1e-5)
    assert float((packed - padded).norm() / padded.norm()) < 1e-4


def test_no_sample_sees_another(model, rows):
    """Other tokens in the first sample change nothing after it; without the positions they would."""
    batch = collate_packed([rows[:2]], PAD)
    first = rows[0].tokens
    changed = batch.input_ids.clone()
    changed[0, 1:first] = (changed[0, 1:first] + 1000) % 40000 + 3

    def second(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            # With a cache, transformers 5.23 does not look at the positions: everything would see everything.
            return model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, first:]

    shown = second(batch.input_ids, batch.position_ids)
    assert torch.allclose(shown, second(changed, batch.position_ids), atol=1e-5)
    running = torch.arange(batch.input_ids.shape[1])[None]
    assert not torch.allclose(second(batch.input_ids, running), second(changed, running), atol=1e-2)


def test_labels_of_packed_rows_are_checked(tokenizer, rows):
    renderer = Renderer(tokenizer)
    packed = [rows[:3], rows[3:]]
    batch = collate_packed(packed, PAD)
    check_labels(batch, packed, renderer)
    layout = Layout([(row,) for row in rows], packed=True, pad_id=PAD)
    assert batch.label_count == layout.items([[0, 1, 2], [3, 4]]) == sum(len(row.answer_ids) for row in rows)
    with pytest.raises(LabelsWrong, match="holds 3 samples"):
        check_labels(batch, [rows[:2], rows[3:]], renderer)
    batch.labels[0, len(rows[0].prompt_ids)] = -100
    with pytest.raises(LabelsWrong, match="not on its answer"):
        check_labels(batch, packed, renderer)
