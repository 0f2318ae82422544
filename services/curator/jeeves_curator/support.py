"""Which section supports an answer, and which words of the answer are its facts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from jeeves_curator.sections import pieces
from jeeves_shared.contracts.documents import Pair, Passage
from jeeves_shared.contracts.prompts import PASSAGE_CHARACTERS
from jeeves_shared.search import SearchIndex, Section
from jeeves_shared.search.tokens import STOP_WORDS, content_tokens, identifiers, tokens

SUPPORT_MIN = 0.35
"""Least IDF-weighted share of an answer's content terms in its section. On 395 pairs of the Jenkins handbook the right
page's best section reaches it for 98 %, a random page's for some 8 % (docs/experiments.md)."""

NAMED_SUPPORT_MIN = 0.2
"""The same where the pair names its section: its author vouched for it, so only a wrong name is to be caught."""

_KEY_TERMS_MIN, _KEY_TERMS_MAX = 2, 4
_QUESTION_WEIGHT = 0.3
_FENCE_LINE = re.compile(r"^\s*(?:`{3,}|~{3,}).*$", re.MULTILINE)
_NO_FACT = re.compile(
    r"\d{1,2}|[a-z]+ly|and/or|e\.g|i\.e|etc|like|such|other|same|equal|similar|new|recent|certain", re.I
)
"""Words that are rare enough and say nothing that an answer could be judged by."""
_CODE = re.compile(r"`([^`\n]{2,40})`")


@dataclass(frozen=True)
class Support:
    """The section that an answer rests on.

    Attributes:
        section: with its full text.
        share: IDF-weighted share of the answer's content terms in it, in [0, 1].
    """

    section: Section
    share: float


def _terms(text: str) -> frozenset[str]:
    found = list(tokens(text))
    return frozenset(term for token in found for term in (token.term, *token.parts))


class SupportFinder:
    """Finds support in the documents of an index.

    Args:
        index: that holds the sections.
    """

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        self._rarity = lru_cache(maxsize=None)(index.rarity)
        self._sections = lru_cache(maxsize=512)(self._load)

    def knows(self, source_path: str) -> bool:
        """True if the index holds sections of the document."""
        return bool(self._sections(source_path))

    def find(self, pair: Pair) -> Support | None:
        """The section that supports the pair's answer best, or None if none supports it enough."""
        sections = self._sections(pair.source_path)
        named = [entry for entry in sections if pair.section and _same_title(pair.section, entry[0])]
        least = NAMED_SUPPORT_MIN if named else SUPPORT_MIN
        scored = [
            (
                self.share(pair.answer, terms) + _QUESTION_WEIGHT * self.share(pair.question, terms),
                -number,
                Support(section, self.share(pair.answer, terms)),
            )
            for number, (section, terms) in enumerate(named or sections)
        ]
        if not scored:
            return None
        best = max(scored, key=lambda entry: entry[:2])[2]
        return best if best.share >= least else None

    def share(self, text: str, terms: frozenset[str]) -> float:
        """IDF-weighted share of a text's content terms that are among `terms`, in [0, 1]."""
        wanted = {token.term: token for token in content_tokens(text)}
        total = sum(self._rarity(term) for term in wanted)
        covered = sum(
            self._rarity(term)
            for term, token in wanted.items()
            if term in terms or (token.parts and set(token.parts) - STOP_WORDS <= terms)
        )
        return covered / total if total else 0.0

    def supports(self, passage: Passage, answer: str) -> bool:
        """True if the passage supports the answer."""
        terms = _terms(f"{passage.title}\n{passage.section}\n{passage.text}")
        return self.share(answer, terms) >= SUPPORT_MIN

    def window(self, passage: Passage, answer: str) -> Passage:
        """The passage cut to what a prompt holds, keeping the part that supports the answer."""
        if len(passage.text) <= PASSAGE_CHARACTERS:
            return passage
        parts = list(pieces(passage.text, PASSAGE_CHARACTERS))
        best = max(range(len(parts)), key=lambda number: (self.share(answer, _terms(parts[number])), -number))
        return passage.model_copy(update={"text": parts[best]})

    def key_terms(self, pair: Pair, section: Section) -> tuple[str, ...]:
        """Facts of the answer: its identifiers that stand in the section, filled up with its rarest other words.

        Returns:
            2 to 4 strings as the answer writes them, fewer when it holds no more; words of the question come last.
        """
        text = section.passage.text.lower()
        answer = _FENCE_LINE.sub("", pair.answer)
        code = [*_CODE.findall(answer), *identifiers(answer)]
        facts = [term.strip() for term in code if term.lower().strip() in text]
        asked = _terms(pair.question)
        known = _terms(f"{section.passage.section}\n{section.passage.text}")
        words = {
            token.surface: self._rarity(token.term)
            for token in content_tokens(answer)
            if token.term in known and token.term not in asked and len(token.surface) > 1
        }
        rarest = sorted(words, key=lambda word: (bool(_NO_FACT.fullmatch(word)), -words[word], answer.index(word)))
        facts = _without_doubles(facts)[:_KEY_TERMS_MAX]
        if len(facts) < _KEY_TERMS_MIN:
            facts = _without_doubles([*facts, *rarest])[:_KEY_TERMS_MIN]
        return tuple(facts)

    def _load(self, source_path: str) -> list[tuple[Section, frozenset[str]]]:
        return [
            (section, _terms("\n".join((*section.heading_path, section.passage.text))))
            for section in self._index.sections_of(source_path)
        ]


def _same_title(title: str, section: Section) -> bool:
    wanted = title.strip().strip("`").lower()
    return any(wanted == heading.replace("`", "").strip().lower() for heading in section.heading_path) or (
        wanted.replace("`", "") == section.passage.section.replace("`", "").lower()
    )


def _without_doubles(terms: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for term in terms:
        if not any(term.lower() in other.lower() or other.lower() in term.lower() for other in kept):
            kept.append(term)
    return kept
