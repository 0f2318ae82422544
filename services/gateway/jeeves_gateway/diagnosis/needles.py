"""Finds which rules a line may match, by plain searches for a few short pieces that the needles of many rules share."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

from jeeves_gateway.diagnosis.rules import Rule, rules

_PIECE_CHARACTERS = 4


class Needles:
    """The needles of rules, in groups that share a piece: where the piece is missing, none of the group is looked for.

    One alternation of all needles takes ten times as long, and one search for each needle four times.

    Args:
        searched: rules, the weightiest first.
    """

    def __init__(self, searched: Iterable[Rule]) -> None:
        self._rules = tuple(searched)
        open_needles = {needle for rule in self._rules for needle in rule.needles}
        self._groups: list[tuple[str, list[tuple[str, int]]]] = []
        while open_needles:
            # Greedy: the piece that most of the remaining needles have.
            piece, _ = min(
                Counter(piece for needle in open_needles for piece in _pieces(needle)).items(),
                key=lambda item: (-item[1], item[0]),
            )
            members = {needle for needle in open_needles if piece in needle}
            pairs = [(n, number) for number, rule in enumerate(self._rules) for n in rule.needles if n in members]
            self._groups.append((piece, pairs))
            open_needles -= members

    def rules_for(self, lowered: str, weight_min: int) -> Iterator[Rule]:
        """The rules one of whose needles stands in a line, in their order.

        Args:
            lowered: the line in lower case.
            weight_min: lighter ones are left out.
        """
        found = {
            number for piece, pairs in self._groups if piece in lowered for needle, number in pairs if needle in lowered
        }
        ordered = (self._rules[number] for number in sorted(found))
        return (rule for rule in ordered if rule.weight >= weight_min)


def _pieces(needle: str) -> set[str]:
    last = max(1, len(needle) - _PIECE_CHARACTERS + 1)
    return {needle[start : start + _PIECE_CHARACTERS] for start in range(last)}


@lru_cache(maxsize=1)
def all_needles() -> Needles:
    """Those of all rules."""
    return Needles(rules())
