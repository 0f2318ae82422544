"""Micro batches: which samples go together and in what order, as tensors, and the proof that their labels are right.

The order of a whole run is laid down before it starts, as a function of the seed: a resumed run skips what is done and
sees exactly the batches that it would have seen.

Layout of a batch of B rows, P prompt columns and A answer columns::

    input_ids   [pad pad prompt prompt prompt | answer answer end pad]     (B, P + A)
    labels      [-100 -100 -100 -100  -100    | answer answer end -100]    (B, P + A)

Prompts are padded on the left and answers on the right, so that all answers begin in one column: the loss looks at the
last A + 1 columns only.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    prompt_columns: int

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


class Collator:
    """Turns one planned micro batch, `{"rows": [indices]}`, into the arguments of the loss.

    Args:
        samples: that the indices mean.
        pad_id: token for padding.
    """

    def __init__(self, samples: Sequence[RenderedSample], pad_id: int) -> None:
        self._samples = samples
        self._pad_id = pad_id

    def __call__(self, items: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Any]:
        """Collate the only item; the data loader's own batch size is 1."""
        (item,) = items
        return vars(collate([self._samples[row] for row in item["rows"]], self._pad_id)).copy()


def check_labels(batch: Batch, samples: Sequence[RenderedSample], renderer: Renderer) -> None:
    """Check that a batch trains on the answers and their end tokens, all of them, and on nothing else.

    Args:
        batch: as the model gets it.
        samples: that it was made from, in order.
        renderer: to turn ids back into text.

    Raises:
        LabelsWrong: with the first row that differs.
    """
    for row, sample in enumerate(samples):
        labels = batch.labels[row]
        labelled = labels != IGNORED
        attended = batch.attention_mask[row] == 1
        trained = renderer.decode(labels[labelled].tolist())
        read = renderer.decode(batch.input_ids[row][attended & ~labelled].tolist())
        if not bool(labelled.any()):
            raise LabelsWrong(f"Row {row} has no label at all: raise max_length_tokens.")
        if trained != sample.answer_text or read != sample.prompt_text:
            raise LabelsWrong(f"Row {row} would train on {trained[:80]!r} after {read[-80:]!r}, not on its answer.")
        if not torch.equal(batch.input_ids[row][labelled], labels[labelled]):
            raise LabelsWrong(f"Row {row} has labels that differ from the tokens that it reads.")
