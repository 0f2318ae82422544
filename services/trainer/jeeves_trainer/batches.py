"""Micro batches: which samples go together and in what order, as tensors, and the proof that their labels are right.

The order of a whole run is laid down before it starts, as a function of the seed: a resumed run skips what is done and
sees exactly the batches that it would have seen.

Layout of a batch of B rows, P prompt columns and A answer columns::

    input_ids   [pad pad prompt prompt prompt | answer answer end pad]     (B, P + A)
    labels      [-100 -100 -100 -100  -100    | answer answer end -100]    (B, P + A)

Prompts are padded on the left and answers on the right, so that all answers begin in one column: the loss looks at the
last A + 1 columns only.

A packed row holds several samples one after another, padded on the right. Positions start at 0 with each sample, and
that is what keeps samples from seeing each other: transformers builds a block-diagonal mask from them. P is 1 then::

    input_ids     [prompt answer end prompt prompt answer end pad pad]
    labels        [-100   answer end -100   -100   answer end -100 -100]
    position_ids  [0      1      2   0      1      2      3   0    0  ]

Source of the mask: transformers, masking_utils.py, find_packed_sequence_indices.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from jeeves_trainer.errors import LabelsWrong
from jeeves_trainer.rendering import RenderedSample, Renderer

IGNORED = -100
"""Label of a token without loss, as in torch's cross entropy."""

_GROUPED_BATCHES = 16
"""Batches of similar length are cut from so many batches of shuffled samples: little padding, yet a random order."""


@dataclass(frozen=True)
class Batch:
    """Tensors of one micro batch; shapes as above.

    Attributes:
        input_ids, attention_mask, position_ids, labels: shape (B, P + A), int64.
        prompt_columns: P.
        packed: rows hold several samples; the model gets no attention mask.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    prompt_columns: int
    packed: bool = False

    @property
    def model_mask(self) -> torch.Tensor | None:
        """The mask to give to the model: None where positions say what belongs together."""
        return None if self.packed else self.attention_mask

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        if self.input_ids.device == device:
            return self
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.position_ids.to(device),
            self.labels.to(device),
            self.prompt_columns,
            self.packed,
        )

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())

    @property
    def label_count(self) -> int:
        """Tokens with a label."""
        return int((self.labels != IGNORED).sum())


def plan_batches(lengths: Sequence[int], batch_samples: int, epochs: float, seed: int) -> list[list[int]]:
    """Lay down the micro batches of a whole run.

    Args:
        lengths: tokens of each sample.
        batch_samples: rows of a micro batch.
        epochs: passes over the samples; 1.5 is one and a half.
        seed: of the order.

    Returns:
        Indices of the samples of each micro batch, in order. The last batch of a pass may be smaller.
    """
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    batches: list[list[int]] = []
    for _ in range(math.ceil(epochs)):
        order = list(range(len(lengths)))
        rng.shuffle(order)
        group = batch_samples * _GROUPED_BATCHES
        for start in range(0, len(order), group):
            similar = sorted(order[start : start + group], key=lengths.__getitem__)
            cut = [similar[at : at + batch_samples] for at in range(0, len(similar), batch_samples)]
            rng.shuffle(cut)
            batches += cut
    per_epoch = len(batches) / math.ceil(epochs)
    return batches[: max(1, round(per_epoch * epochs))]


def collate(samples: Sequence[RenderedSample], pad_id: int) -> Batch:
    """Samples as one batch.

    Args:
        samples: at least one.
        pad_id: token for padding; never attended to.
    """
    prompt_columns = max(len(sample.prompt_ids) for sample in samples)
    answer_columns = max(len(sample.answer_ids) for sample in samples)
    ids, mask, labels = [], [], []
    for sample in samples:
        left = prompt_columns - len(sample.prompt_ids)
        right = answer_columns - len(sample.answer_ids)
        ids.append([pad_id] * left + [*sample.prompt_ids, *sample.answer_ids] + [pad_id] * right)
        mask.append([0] * left + [1] * sample.tokens + [0] * right)
        labels.append([IGNORED] * prompt_columns + [*sample.answer_ids] + [IGNORED] * right)
    attention_mask = torch.tensor(mask)
    return Batch(
        input_ids=torch.tensor(ids),
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        labels=torch.tensor(labels),
        prompt_columns=prompt_columns,
    )


def collate_packed(rows: Sequence[Sequence[RenderedSample]], pad_id: int) -> Batch:
    """Rows of several samples each as one batch.

    Args:
        rows: at least one, each with at least one sample; prompts are not empty.
        pad_id: token for padding; every pad stands alone, so that nothing sees it.
    """
    columns = max(sum(sample.tokens for sample in row) for row in rows)
    ids, mask, positions, labels = [], [], [], []
    for row in rows:
        used = sum(sample.tokens for sample in row)
        pads = columns - used
        ids.append([token for sample in row for token in (*sample.prompt_ids, *sample.answer_ids)] + [pad_id] * pads)
        mask.append([1] * used + [0] * pads)
        positions.append([at for sample in row for at in range(sample.tokens)] + [0] * pads)
        labels.append(
            [label for sample in row for label in (*[IGNORED] * len(sample.prompt_ids), *sample.answer_ids)]
            + [IGNORED] * pads
        )
    return Batch(
        input_ids=torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        position_ids=torch.tensor(positions),
        labels=torch.tensor(labels),
        prompt_columns=1,
        packed=True,
    )


def check_labels(batch: Batch, rows: Sequence[Sequence[RenderedSample]], renderer: Renderer) -> None:
    """Check that a batch trains on the answers and their end tokens, all of them, and on nothing else.

    Args:
        batch: as the model gets it.
        rows: the samples of each row, in order.
        renderer: to turn ids back into text.

    Raises:
        LabelsWrong: with the first row that differs.
    """
    for number, samples in enumerate(rows):
        found = list(_samples_in(batch, number))
        if len(found) != len(samples):
            raise LabelsWrong(f"Row {number} holds {len(found)} samples, {len(samples)} were put there.")
        for (ids, labels), sample in zip(found, samples, strict=True):
            _check_sample(number, ids, labels, sample, renderer)


def _samples_in(batch: Batch, row: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels of each sample of a row, told apart by what the model gets: the mask and the positions."""
    attended = batch.attention_mask[row] == 1
    ids, labels, positions = (t[row][attended] for t in (batch.input_ids, batch.labels, batch.position_ids))
    starts = (positions == 0).nonzero().flatten().tolist()
    for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
        yield ids[start:end], labels[start:end]


def _check_sample(
    row: int, ids: torch.Tensor, labels: torch.Tensor, sample: RenderedSample, renderer: Renderer
) -> None:
    labelled = labels != IGNORED
    trained, read = renderer.decode(labels[labelled].tolist()), renderer.decode(ids[~labelled].tolist())
    if not bool(labelled.any()):
        raise LabelsWrong(f"Row {row} has no label at all: raise max_length_tokens.")
    if trained != sample.answer_text or read != sample.prompt_text:
        raise LabelsWrong(f"Row {row} would train on {trained[:80]!r} after {read[-80:]!r}, not on its answer.")
    if bool(labelled[0]):
        raise LabelsWrong(f"Row {row} has a label on the first token of a sample, which nothing predicts.")
    if not torch.equal(ids[labelled], labels[labelled]):
        raise LabelsWrong(f"Row {row} has labels that differ from the tokens that it reads.")
