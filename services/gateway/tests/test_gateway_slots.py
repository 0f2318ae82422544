"""Slots of the engine: a conversation stays on its own, and no key ever profits from another key's text."""

from contextlib import ExitStack, suppress

from hypothesis import given
from hypothesis import strategies as st

from jeeves_gateway.slots import Place, SlotBook
from jeeves_gateway.upstream import Sampling, _body
from jeeves_shared.contracts.prompts import SYSTEM_PROMPT, Message, build_messages

Request = tuple[str, int]


def prompt(number: int, question: str = "Why?") -> list[Message]:
    """A prompt with sources of its own."""
    said: list[Message] = [{"role": "user", "content": f"Sources {number}: {'text of a page ' * 40}"}]
    return build_messages(question, [], said)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans()), max_size=40), st.integers(1, 4))
def test_no_key_uses_what_another_key_left(requests: list[tuple[str, int, bool]], slots: int) -> None:
    book, wrote = SlotBook(slots), dict[int, set[str]]()
    running: list[tuple[Place, ExitStack]] = []
    for owner, number, ends in requests:
        if running and (ends or len(running) == slots):
            running.pop(0)[1].close()
        held = ExitStack()
        place = held.enter_context(book.hold(owner, prompt(number)))
        assert place.slot is not None and place.slot not in [other.slot for other, _ in running]
        kept = wrote.get(place.slot, set()) if place.reuse else set()
        assert kept <= {owner}
        wrote[place.slot] = kept | {owner}
        running.append((place, held))


def test_what_goes_on_stays_where_it_was() -> None:
    book = SlotBook(3)
    places = []
    for number in (0, 1, 0, 2, 1, 0):
        with book.hold("key", prompt(number, f"Question {len(places)}?")) as place:
            places.append(place)
    assert [place.slot for place in places] == [0, 1, 0, 2, 1, 0]
    assert all(place.reuse for place in places)


def test_new_conversations_take_what_was_used_longest_ago() -> None:
    book = SlotBook(2)
    for number in (0, 1, 0):
        with book.hold("key", prompt(number)):
            pass
    with book.hold("other", prompt(0)) as place:
        assert (place.slot, place.reuse, place.held) == (1, False, 0)
    with book.hold("other", prompt(0)) as place:
        assert (place.slot, place.reuse, place.held) == (1, True, len(place.blocks))


def test_who_goes_away_before_the_engine_begins_owns_nothing() -> None:
    book = SlotBook(1)
    with book.hold("key", prompt(0)) as place:
        book.written(place, "key")
    for owner, reuse in (("other", False), ("other", False), ("key", False)):
        with suppress(TimeoutError), book.hold(owner, prompt(0)) as place:
            assert (place.reuse, place.held) == (reuse, 0)
            raise TimeoutError
    with suppress(TimeoutError), book.hold("key", prompt(0)) as place:
        book.written(place, "key")
        raise TimeoutError
    with book.hold("key", prompt(0)) as place:
        assert place.reuse and place.held


def test_more_requests_than_slots_use_nothing() -> None:
    book = SlotBook(1)
    with book.hold("key", prompt(0)), book.hold("key", prompt(0)) as second:
        assert second == Place(None, reuse=False)
        assert _body("m", [], Sampling(1), second)["cache_prompt"] is False


def test_the_system_prompt_alone_makes_no_two_prompts_alike() -> None:
    assert len(SYSTEM_PROMPT) < 240
    book = SlotBook(2)
    with book.hold("key", build_messages("What is a node?", [])):
        pass
    with book.hold("key", build_messages("Where are logs kept?", [])) as place:
        assert place.slot == 1
