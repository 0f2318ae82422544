"""A long beginning that several chats of one key have in common is computed once, and copied into their slots.

llama.cpp's slots share nothing (#22942): eight chats with the same sources would compute them eight times. Here the
first of them computes its prompt alone; those that come meanwhile and begin alike wait, and get a copy of what it
computed. If it fails or goes away, one of those that waited takes its place. Keys are kept apart as slots are: a copy
goes from a slot of a key to slots of the same key, and is forgotten when the last one has it.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jeeves_gateway.errors import UpstreamFailed, UpstreamStalled
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.slots import BLOCK_CHARACTERS, Place, common_blocks
from jeeves_gateway.upstream import Endpoint, Sampling, Upstream
from jeeves_shared.contracts.prompts import Message
from jeeves_shared.engine.process import EngineProcess

logger = logging.getLogger(__name__)

LONG_BLOCKS = 1024 // BLOCK_CHARACTERS
"""From so much on, some 250 tokens, a beginning is worth a request of its own, which costs as much as two tokens."""


class Computed(NamedTuple):
    """Where a request goes on.

    Attributes:
        place: its slot, and what of it may be used.
        cached_tokens: of the prompt, that were there before; None if the engine will tell.
    """

    place: Place
    cached_tokens: int | None = None


@dataclass(eq=False, slots=True)
class _Leader:
    """A request that computes its prompt, for others too.

    Attributes:
        settled: it has ended; `saved` tells how.
        followers: requests that wait for it, or still copy.
    """

    owner: str
    blocks: tuple[int, ...]
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    saved: bool = False
    followers: int = 0


class Beginnings:
    """The prompts that one engine process is computing.

    Args:
        process: the engine; its `copy_file` is what copies go through, one at a time.
        endpoint: where it is asked.
        upstream: asks it.
        metrics: gets copies and failures.
    """

    def __init__(self, process: EngineProcess, endpoint: Endpoint, upstream: Upstream, metrics: GatewayMetrics) -> None:
        self._process = process
        self._endpoint = endpoint
        self._upstream = upstream
        self._copies = metrics.slot_copies
        self._leaders: list[_Leader] = []
        self._file = asyncio.Lock()
        self._broken = False

    async def warm(self, messages: Sequence[Message]) -> None:
        """Put what all prompts begin with into each slot.

        Raises:
            UpstreamFailed: as `Upstream.stream`.
        """
        slots = self._process.spec.slots
        await self._compute(messages, Place(0))
        for slot in range(1, slots):
            if self._copy_file is not None:
                try:
                    if slot == 1:
                        await self._copy("save", 0)
                    await self._copy("restore", slot)
                    continue
                except UpstreamFailed as exc:
                    self._give_up(exc)
            await self._compute(messages, Place(slot))
        self._process.empty_copy_file()

    async def computed(self, owner: str, messages: Sequence[Message], place: Place) -> Computed:
        """Have a prompt computed as far as that helps others or others have done it; wait for that.

        Args:
            owner: id of the key that asks.
            messages: the whole prompt.
            place: its slot.

        Raises:
            UpstreamFailed: the engine failed while this request computed its own prompt.
            UpstreamStalled: the time for the first token is over.
        """
        try:
            async with asyncio.timeout(self._upstream.first_token_seconds):
                while place.slot is not None and self._copy_file is not None:
                    leader = self._nearest(owner, place)
                    if leader is None and len(place.blocks) - place.held < LONG_BLOCKS:
                        break
                    if leader is None:
                        cached_tokens = await self._lead(_Leader(owner, place.blocks), messages, place)
                        return Computed(Place(place.slot), cached_tokens)
                    if await self._follow(leader, place.slot):
                        return Computed(Place(place.slot))
        except TimeoutError as exc:
            seconds = self._upstream.first_token_seconds
            raise UpstreamStalled(f"The engine was silent for {seconds:g} s.") from exc
        return Computed(place)

    def _nearest(self, owner: str, place: Place) -> _Leader | None:
        """Who of the same key computes the most that this request lacks; None if that is not much."""

        def common(leader: _Leader) -> int:
            return common_blocks(leader.blocks, place.blocks) - place.held

        own = [leader for leader in self._leaders if leader.owner == owner and common(leader) >= LONG_BLOCKS]
        return max(own, key=common, default=None)

    async def _lead(self, leader: _Leader, messages: Sequence[Message], place: Place) -> int:
        """Compute a prompt, and save it if others wait for it; the tokens of it that were there before."""
        self._leaders.append(leader)
        try:
            cached_tokens = await self._compute(messages, place)
            if leader.followers and place.slot is not None:
                await self._file.acquire()
                try:
                    await _to_its_end(self._copy("save", place.slot))
                    leader.saved = True
                except UpstreamFailed as exc:
                    self._give_up(exc)
                finally:
                    self._release(leader)
        finally:
            self._leaders.remove(leader)
            leader.settled.set()
        return cached_tokens

    async def _follow(self, leader: _Leader, slot: int) -> bool:
        """Wait for a leader and copy what it computed; False if there was nothing to be copied."""
        leader.followers += 1
        try:
            await leader.settled.wait()
            if leader.saved and self._copy_file is not None:
                await _to_its_end(self._copy("restore", slot))
                return True
        except UpstreamFailed as exc:
            self._give_up(exc)
        finally:
            leader.followers -= 1
            if leader.saved:
                self._release(leader)
        return False

    def _release(self, leader: _Leader) -> None:
        """Forget what was saved once nobody waits for it any more, or when nothing was."""
        if not leader.saved or not leader.followers:
            self._process.empty_copy_file()
            self._file.release()

    @property
    def _copy_file(self) -> int | None:
        return None if self._broken else self._process.copy_file

    async def _copy(self, action: Literal["save", "restore"], slot: int) -> None:
        file = self._copy_file
        if file is None:
            raise UpstreamFailed("The engine was stopped.")
        await self._upstream.copy_slot(self._endpoint, action, slot, file)
        if action == "restore":
            self._copies.labels("copied").inc()

    def _give_up(self, exc: UpstreamFailed) -> None:
        """An engine that could not copy once is not asked again: each request computes its own prompt."""
        self._broken = True
        self._copies.labels("failed").inc()
        logger.warning("slots are not copied any more: %s", exc.detail)

    async def _compute(self, messages: Sequence[Message], place: Place) -> int:
        cached_tokens = 0
        async for piece in self._upstream.stream(self._endpoint, messages, Sampling(max_tokens=1), place):
            cached_tokens = piece.cached_tokens or cached_tokens
        return cached_tokens


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for it, also when cancelled: the slot or the file would be another key's while the engine is still at it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
