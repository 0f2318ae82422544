"""Which slot of the engine a request goes to, and whether it may use what the slot still holds.

llama-server would choose the slot whose text a prompt resembles most, whoever wrote it: a prompt that somebody else
sent before would be answered measurably sooner. Here a slot that passes from one key to another computes all of its
prompt. What one key asks goes where its beginning was computed before: a conversation, or a second question to the same
sources.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from jeeves_shared.contracts.prompts import Message

BLOCK_CHARACTERS = 256
"""A little more than the system prompt, which all prompts begin with: one equal block is more than that."""


class Place(NamedTuple):
    """Where a request goes.

    Attributes:
        slot: llama-server's number of it; None lets it choose.
        reuse: whether what the slot holds may be used.
        blocks: hashes of the prompt, piece by piece.
        held: how many of them, from the beginning, the slot holds already of the same key.
    """

    slot: int | None
    reuse: bool = True
    blocks: tuple[int, ...] = ()
    held: int = 0


_NOBODY = "\0"
"""Owner of a slot that may hold what any key wrote."""


@dataclass(slots=True)
class _Slot:
    number: int
    owner: str | None = None  # None: it holds the system prompt only
    blocks: tuple[int, ...] = ()
    used: int = 0
    busy: bool = False

    def shared(self, blocks: Sequence[int]) -> int:
        """Blocks at the beginning that are equal."""
        return common_blocks(self.blocks, blocks)


class SlotBook:
    """Remembers what the slots of one engine process hold: whose, and hashes of how it begins; no text.

    Args:
        slots: how many there are, >= 1.
    """

    def __init__(self, slots: int) -> None:
        self._slots = [_Slot(number) for number in range(slots)]
        self._turn = 0

    @contextmanager
    def hold(self, owner: str, messages: Sequence[Message]) -> Iterator[Place]:
        """Take a free slot for one request.

        Args:
            owner: id of the key that asks.
            messages: the whole prompt.
        """
        blocks = _blocks(messages)
        slot = self._choose(owner, blocks)
        if slot is None:
            # More requests than slots: the engine chooses when one is free, and nobody's text is used.
            yield Place(None, reuse=False)
            return
        reuse, held = slot.owner in (None, owner), slot.shared(blocks) if slot.owner == owner else 0
        self._turn += 1
        # A request that goes away before the engine has begun with it leaves what was there.
        slot.owner, slot.blocks, slot.used, slot.busy = owner if reuse else _NOBODY, blocks, self._turn, True
        try:
            yield Place(slot.number, reuse, blocks, held)
            slot.owner = owner
        finally:
            slot.busy = False

    def written(self, place: Place, owner: str) -> None:
        """The engine has computed the prompt of a request that holds this place."""
        if place.slot is not None:
            self._slots[place.slot].owner = owner

    def _choose(self, owner: str, blocks: Sequence[int]) -> _Slot | None:
        free = [slot for slot in self._slots if not slot.busy]
        own = [slot for slot in free if slot.owner == owner]
        nearest = max(own, key=lambda slot: slot.shared(blocks), default=None)
        if nearest is not None and nearest.shared(blocks):
            return nearest
        # What was not used yet, then what was used longest ago: conversations stay as long as there is room.
        return min(free, key=lambda slot: slot.used, default=None)


def common_blocks(one: Sequence[int], other: Sequence[int]) -> int:
    """Blocks at the beginning that are equal."""
    return next(
        (count for count, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _blocks(messages: Sequence[Message]) -> tuple[int, ...]:
    text = "\0".join(f"{message['role']}\0{message['content']}" for message in messages)
    return tuple(hash(text[at : at + BLOCK_CHARACTERS]) for at in range(0, len(text), BLOCK_CHARACTERS))
