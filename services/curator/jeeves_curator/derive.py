"""Pairs from headings, without a teacher: for a collection that brings documents but no questions.

Only what a heading asks and the text right below it answers is taken, word for word; the steps of `steps` judge the
result like any other pair.
"""

import re
from collections.abc import Iterable, Iterator

from jeeves_curator.sections import documentation_prior
from jeeves_curator.split import draw
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import Document, Pair, PairKind
from jeeves_shared.search import Section

PAIRS_ENOUGH = 50
"""A collection that brings this many usable pairs needs none from headings."""

_ANSWER_CHARACTERS_MAX = 900
_FENCE = re.compile(r"^```[^\n]*\n.*?^```\s*$", re.MULTILINE | re.DOTALL)
_QUESTION = re.compile(r"^(?:how|what|why|when|where|which|who|can|does|do|is|are|should)\b.*\?$", re.IGNORECASE)
_GERUND = re.compile(r"^([A-Z][a-z]+)ing\s+(.+)$")
_IMPERATIVES = """
    add allow archive assign attach avoid back build change check choose clean clone configure connect create customize
    debug declare define delete deploy disable download enable expose find fix generate get grant handle import install
    integrate keep launch limit list load lock manage migrate monitor move override parse pass pin plan prepare prevent
    protect publish pull push read rebuild recover reduce register remove rename replace report reset restart restore
    restrict retry rotate run save scale schedule secure select send set share skip specify start stop store switch test
    track trigger troubleshoot uninstall update upgrade upload use validate verify view wait write
"""
IMPERATIVES = frozenset(_IMPERATIVES.split())
# Also nouns: "Build steps" and "Use of agents" ask nothing, "Build a Java app" does.
_ALSO_NOUNS = """
    access archive back build change check debug download handle limit list lock load monitor move
    override pass pin plan publish pull push read release report reset restart retry run scale schedule select set
    share skip start stop store switch test track trigger update upgrade upload use view wait write
"""
ALSO_NOUNS = frozenset(_ALSO_NOUNS.split())
_DETERMINERS = frozenset(
    ("a", "an", "the", "your", "all", "multiple", "several", "one", "two", "up", "existing", "new")
)
_NO_OBJECT = frozenset(("of", "for", "in", "on", "and", "or", "vs", "from", "by", "is", "are", "to"))
_DEFINITION = re.compile(r"^(?:an?|the)?\s*(?P<subject>.{2,60}?)\s+(?:is|are)\s+(?:an?|the|one|any|what|how)\b", re.I)
_YOUR = re.compile(r"\byour\b", re.IGNORECASE)
_HEADING_NOISE = re.compile(r"^(?:\d+[.)]\s*|step\s+\d+\s*[:.]\s*)", re.IGNORECASE)


def derive_pairs(documents: Iterable[tuple[Document, list[Section]]], limit: int, seed: int) -> list[Pair]:
    """Pairs from the sections of documents.

    Args:
        documents: each with its sections.
        limit: at most this many, drawn evenly from documentation, then from the rest; 0 for none.
        seed: of the draw.

    Returns:
        Sorted by id.
    """
    found = [
        (-documentation_prior(document), draw(seed, "derive", pair.id), pair)
        for document, sections in documents
        for pair in _pairs(document, sections)
    ]
    drawn = sorted(found, key=lambda entry: entry[:2])[:limit]
    return sorted((pair for _, _, pair in drawn), key=lambda pair: pair.id)


def _pairs(document: Document, sections: list[Section]) -> Iterator[Pair]:
    if document.kind in ("log", "release-note", "question"):
        return
    seen: set[str] = set()
    for section in sections:
        heading = _HEADING_NOISE.sub("", section.passage.section).strip()
        if heading in seen:  # A later piece of a long section does not begin with its answer.
            continue
        seen.add(heading)
        answer, code = _opening(section.passage.text)
        made = _ask(heading, document.title, answer) if answer else None
        if made is not None:
            kind, question = made
            text = f"{answer}\n\n{code}" if code and kind == "how-to" else answer
            yield Pair(
                id=f"derived-{content_hash([document.source_path, question])[:12]}",
                kind=kind,
                question=question,
                answer=text,
                source_path=document.source_path,
                section=section.passage.section,
            )


def _opening(text: str) -> tuple[str, str]:
    """The first paragraph of prose and the first code block of a section; each empty if there is none that fits."""
    code = _FENCE.search(text)
    prose = _FENCE.sub("", text)
    for paragraph in re.split(r"\n\s*\n", prose):
        plain = paragraph.strip()
        if (
            re.match(r"[A-Z`*\[\u3400-\u9fff]", plain)
            and plain[-1:] in ".:。：`"
            and len(plain) <= _ANSWER_CHARACTERS_MAX
        ):
            block = code.group().strip() if code else ""
            fits = len(plain) + len(block) <= _ANSWER_CHARACTERS_MAX
            # A paragraph that ends in a colon announces what follows; without it, it answers nothing.
            if plain.endswith((":", "：")) and not (block and fits):
                return "", ""
            return plain, block if fits else ""
    return "", ""


def _ask(heading: str, title: str, answer: str) -> tuple[PairKind, str] | None:
    if _QUESTION.match(heading):
        return ("how-to" if heading.lower().startswith("how") else "concept"), heading
    first, _, rest = heading.partition(" ")
    if rest and first.lower() in IMPERATIVES and _is_command(first.lower(), rest):
        return "how-to", _how(first.lower(), rest)
    gerund = _GERUND.match(heading)
    if (
        gerund
        and (verb := _imperative(gerund.group(1).lower()))
        and gerund.group(2).split(maxsplit=1)[0].lower() not in _NO_OBJECT
    ):
        return "how-to", _how(verb, gerund.group(2))
    defined = _DEFINITION.match(re.sub(r"[`*]", "", answer))
    if defined and defined.group("subject").lower() in {heading.lower(), title.lower()}:
        return "concept", f"What is {heading}?" if not heading.endswith("s") else f"What are {heading}?"
    return None


def _is_command(verb: str, rest: str) -> bool:
    word = rest.split(maxsplit=1)[0].lower()
    return word not in _NO_OBJECT and (verb not in ALSO_NOUNS or word in _DETERMINERS or word.startswith("`"))


def _how(verb: str, rest: str) -> str:
    return f"How do I {verb} {_YOUR.sub('my', rest)}?"


def _imperative(stem: str) -> str | None:
    """The verb of a gerund without its `ing`: `creat` → `create`, `runn` → `run`."""
    doubled = stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] else stem
    return next((verb for verb in (stem, f"{stem}e", doubled) if verb in IMPERATIVES), None)
