"""Heuristics for text that is no text: first on the document, then the same on each of its paragraphs.

A document that fails as a whole is not lost: its good paragraphs stay, if they are enough to say something.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from jeeves_curator.documents.blocks import Block, blocks, joined, prose, without_empty_sections
from jeeves_curator.documents.steps import Unit, dropped, excerpt
from jeeves_shared.contracts.curation import DocumentDrop

SALVAGED_CHARACTERS_MIN = 200
"""Prose that must be left of a document that failed as a whole."""

_WORD = re.compile(r"\w[\w'’-]*")
"""A table's ruler is none, however long."""
_LINK_TEXT = re.compile(r"\[[^\[\]]*\]\([^()]*\)|<https?://[^<>\s]+>|https?://\S+")
_FILLER = re.compile(
    r"(?i)\blorem ipsum\b|\binsert (?:your )?(?:text|description|title) here\b|\{\{\s*(?:page|site|content|body)\b"
)
_RULER = re.compile(r"(?m)^[-=~+|: ]{4,}$")
_NAME = re.compile(r"`[^`\n]*`|\b\w*_\w*\b|\bjenkinsdoc:\S+")
_JUDGED_CHARACTERS_MIN = 120
"""Shorter texts are captions, list items, notes: no share of anything means much there."""


def symbols(text: str) -> str:
    """Less than half letters, digits and blanks. Source: C4 and Gopher use like bounds (Rae et al. 2021, table A1)."""
    bare = _RULER.sub("", _LINK_TEXT.sub("", text))
    if len(bare) < _JUDGED_CHARACTERS_MIN or bare.lstrip().startswith("|"):
        return ""
    share = sum(character.isalnum() or character.isspace() for character in bare) / len(bare)
    return f"{share:.0%} letters" if share < 0.5 else ""


def repetition(text: str) -> str:
    """The same lines or words again and again. Source: Gopher's duplicate-line and top-n-gram bounds."""
    lines = [line.strip() for line in text.split("\n") if len(line.strip()) > 3]
    if len(lines) >= 10 and len(set(lines)) / len(lines) < 0.4:
        return f"{len(set(lines))} of {len(lines)} lines"
    words = _WORD.findall(text.lower())
    if len(words) >= 60:
        grams = Counter(zip(words, words[1:], words[2:], strict=False))
        gram, count = max(grams.items(), key=lambda entry: (entry[1], entry[0]))
        if count * 3 / len(words) > 0.3 and count >= 8:
            return f"“{' '.join(gram)}” {count} times"
    return ""


def link_list(text: str) -> str:
    """Links and next to nothing else: a menu."""
    links = _LINK_TEXT.findall(text)
    if len(links) < 8:
        return ""
    bare = prose(_LINK_TEXT.sub("", text))
    words = len(_WORD.findall(bare))
    return f"{len(links)} links, {words} words" if words < len(links) else ""


def long_words(text: str) -> str:
    """Data rather than language: base64, minified scripts, hashes."""
    words = _WORD.findall(_NAME.sub("", _LINK_TEXT.sub("", text)))
    longest = max(words, key=len, default="")
    if sum(len(word) for word in words) < _JUDGED_CHARACTERS_MIN:
        return ""
    if len(longest) > 200:
        return f"a word of {len(longest)} characters"
    mean = sum(map(len, words)) / len(words)
    has_han = bool(re.search(r"[\u3040-\u9fff]", text))
    return f"{mean:.0f} characters a word" if mean > 18 and not has_han else ""


def shouting(text: str) -> str:
    """Capitals throughout."""
    letters = [character for character in prose(_NAME.sub("", text)) if character.isalpha() and character.isascii()]
    if len(letters) < _JUDGED_CHARACTERS_MIN:
        return ""
    share = sum(character.isupper() for character in letters) / len(letters)
    return f"{share:.0%} capitals" if share > 0.6 else ""


def unfinished(text: str) -> str:
    """Filler of a template that nobody replaced."""
    found = _FILLER.search(text)
    return found.group() if found else ""


RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("symbols", symbols),
    ("repetition", repetition),
    ("link-list", link_list),
    ("long-words", long_words),
    ("shouting", shouting),
    ("template-text", unfinished),
)
"""Reason and rule; a rule gives what it saw, or nothing. In order: the first that fires is the reason."""


def judge(text: str) -> tuple[str, str] | None:
    """The first rule that a text breaks, with what it saw; None for a good text.

    Args:
        text: Markdown without code.
    """
    for reason, rule in RULES:
        if detail := rule(text):
            return reason, detail
    return None


class Heuristics:
    """The rules on the document, and on each of its paragraphs. Code is not judged: half of it looks like noise."""

    name = "heuristics"

    def review(self, unit: Unit) -> Unit | DocumentDrop:
        """Drops documents by the reason of the rule, unless enough good paragraphs are left."""
        parts = blocks(unit.document.text)
        whole = judge("\n\n".join(part.text for part in parts if not part.is_code))
        drops: list[DocumentDrop] = []
        kept: list[Block] = []
        for part in parts:
            verdict = None if part.is_code or part.is_heading else judge(part.text)
            if verdict is None:
                kept.append(part)
            else:
                drops.append(
                    DocumentDrop(
                        source_path=unit.document.source_path,
                        step=self.name,
                        scope="paragraph",
                        reason=verdict[0],
                        detail=verdict[1],
                        excerpt=excerpt(part.text, unit.document),
                    )
                )
        if not drops and whole is None:
            return unit
        left = without_empty_sections(kept) if drops else kept
        if whole is not None:
            said = " ".join(
                prose("\n".join(part.text for part in left if not part.is_code and not part.is_heading)).split()
            )
            if len(said) < SALVAGED_CHARACTERS_MIN:
                return dropped(self.name, unit.document, *whole)
        changed = unit.with_text(joined(left) + "\n") if drops else unit
        return replace(changed, paragraph_drops=(*unit.paragraph_drops, *drops), salvaged=whole is not None)
