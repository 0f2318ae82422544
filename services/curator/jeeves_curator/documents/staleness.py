"""What a document's text is about in time: the release of Jenkins, a date, terms that have had their day.

Of two versions of a page, and of two sentences that differ only in a fact, the newer one stays.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jeeves_curator.documents.blocks import prose
from jeeves_curator.documents.steps import Unit, dropped
from jeeves_shared.contracts.curation import Contradiction, DocumentDrop, MergedCopy, SourceStanding

_RELEASE = re.compile(
    r"\bJenkins(?:\s+(?:LTS|core|version|weekly|release))*\s+(?:v(?:ersion)?\s*)?(\d\.\d{1,4}(?:\.\d{1,2})?)\b"
)
_PATH_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-/](\d\d)[-/](\d\d)(?!\d)")
_YEAR_FOLDER = re.compile(r"/((?:19|20)\d\d)(?:/|\.\w+$)")

OUTDATED: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (term, now, re.compile(pattern))
    for term, now, pattern in (
        ("slave", "agent", r"(?i)\b(?:jnlp|ssh|build|jenkins|windows|linux|docker|remote|offline|on|the|a|each|your)\s+slaves?\b|\bslave\.jar\b|\bslave-agent\b"),
        ("master", "controller", r"(?i)\bjenkins\s+master\b|\bmaster\s+(?:node|server|machine|process)\b|\bmaster/(?:slave|agent)\b|\bon\s+the\s+master\b"),
        ("JNLP agent", "inbound agent", r"(?i)\bjnlp\s+(?:slave|agent)s?\b|\bjnlp-slave\b|\bjavaws\b|Java\s+Web\s+Start"),
        ("jenkinsci/jenkins image", "jenkins/jenkins", r"\bjenkinsci/(?:jenkins|blueocean|jnlp-slave|slave)\b|\bdocker\s+(?:run|pull)\b[^\n]*\sjenkins(?::\S+)?\s*$"),
        ("jenkins-ci.org", "jenkins.io", r"\b(?:wiki|issues|pkg|mirrors|updates|www)?\.?jenkins-ci\.org\b"),
        ("Java 5 to 8", "Java 21 or 25", r"\b(?:Java|JDK|JRE)\s*(?:SE\s*)?(?:1\.)?[5678]\b(?!\d)"),
        ("Java 11", "Java 21 or 25", r"\b(?:Java|JDK|JRE)\s*11\b"),
        ("Hudson", "Jenkins", r"\bHudson\s+(?:server|master|job|is|users?|plugin)\b"),
        ("Blue Ocean", "no longer developed", r"\bBlue\s+Ocean\b"),
        ("CLI over remoting", "HTTP or SSH", r"(?i)\bcli\b[^.\n]{0,40}\bremoting\b|-remoting\b"),
        ("Workflow plugin", "Pipeline", r"\bWorkflow\s+(?:plugin|job|script)s?\b"),
        ("CVS, SVN bundled", "no longer bundled", r"(?i)\bbundled\s+(?:cvs|subversion)\b"),
    )
)  # fmt: skip
"""Term, what stands for it now, pattern. Marked, never rewritten: an old log is still asked about."""

SUPERSEDED_OVERLAP_MIN = 0.25
"""Share of the older page's sections that the newer page of the same name also has."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*\[])|\n{1,}")
_FACT = re.compile(
    r"\d+(?:\.\d+)*|\b(?:no longer|not|never|cannot|disabled|enabled|deprecated|removed|unsupported|optional|required)\b"
)
_WORD = re.compile(r"[a-z][a-z'-]+|\d[\d.]*")
_SENTENCE_WORDS_MIN = 6
_SAME_WORDS_MIN = 0.5


@dataclass(frozen=True)
class Dated:
    """A document with the time that it speaks of.

    Attributes:
        unit: the document.
        as_of: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`; empty if nothing says.
        jenkins_version: highest release that it speaks of; empty if none.
    """

    unit: Unit
    as_of: str
    jenkins_version: str


class Dates:
    """Dates of documents: their path, else the standing of their source.

    Args:
        standings: of sources.
    """

    name = "dates"

    def __init__(self, standings: Sequence[SourceStanding]) -> None:
        self._as_of = {standing.source: standing.as_of for standing in standings}

    def date(self, unit: Unit) -> Dated:
        """The document with its time, and its outdated terms marked."""
        path = unit.document.source_path
        if found := _PATH_DATE.search(path):
            as_of = "-".join(found.groups())
        elif found := _YEAR_FOLDER.search(path):
            as_of = found.group(1)
        else:
            as_of = self._as_of.get(path.partition("/")[0], "")
        releases = _RELEASE.findall(unit.document.text)
        newest = max(releases, key=lambda text: tuple(map(int, text.split("."))), default="")
        return Dated(unit, as_of, newest)


def outdated_terms(text: str) -> tuple[str, ...]:
    """Terms and features of a text that are no longer current, in the order of `OUTDATED`."""
    return tuple(term for term, _, pattern in OUTDATED if pattern.search(text))


@dataclass
class Superseded:
    """What came out.

    Attributes:
        kept: in order.
        drops: older versions of pages.
        copies: of each kept path.
        contradictions: sentences of dropped pages that say otherwise than the page that stays.
    """

    kept: list[Dated]
    drops: list[DocumentDrop]
    copies: dict[str, list[MergedCopy]]
    contradictions: list[Contradiction]


class Supersede:
    """Older versions of a page go, whatever their source. Needs all documents.

    Two pages are versions of one if they have the same title or file name, differ in their date, and share sections. A
    page that is dated itself (a blog, the projects of a year) is of its time: it neither supersedes nor is superseded.
    """

    name = "supersede"

    def review_all(self, dated: Iterable[Dated]) -> Superseded:
        """Drops as `superseded`."""
        known = list(dated)
        groups: defaultdict[str, list[Dated]] = defaultdict(list)
        for one in known:
            path = one.unit.document.source_path
            if one.as_of and not (_PATH_DATE.search(path) or _YEAR_FOLDER.search(path)):
                for key in _page_keys(one):
                    groups[key].append(one)
        result = Superseded([], [], {}, [])
        gone: set[str] = set()
        for _, group in sorted(groups.items()):
            newest = max(group, key=lambda one: (one.as_of, one.unit.document.source_path))
            for older in group:
                path = older.unit.document.source_path
                if older.as_of >= newest.as_of or path in gone:
                    continue
                share = _shared_headings(older.unit.document.text, newest.unit.document.text)
                if share >= SUPERSEDED_OVERLAP_MIN:
                    gone.add(path)
                    self._drop(result, older, newest, share)
        result.kept = [one for one in known if one.unit.document.source_path not in gone]
        return result

    def _drop(self, result: Superseded, older: Dated, newest: Dated, share: float) -> None:
        old, new = older.unit.document, newest.unit.document
        detail = f"{older.as_of} before {newest.as_of}, {share:.0%} of its sections"
        result.drops.append(dropped(self.name, old, "superseded", detail, new.source_path))
        result.copies.setdefault(new.source_path, []).append(
            MergedCopy(
                source_path=old.source_path,
                url=old.provenance.url,
                licence=old.provenance.licence,
                author=old.provenance.author,
                reason="superseded",
                similarity=round(share, 4),
            )
        )
        result.contradictions += contradictions(older, newest)


def _page_keys(dated: Dated) -> set[str]:
    document = dated.unit.document
    stem = document.source_path.rpartition("/")[2].partition(".")[0]
    if stem in ("index", "README", "readme"):
        stem = document.source_path.split("/")[-2]
    title = re.sub(r"\W+", " ", document.title.lower()).strip()
    generic = {"introduction", "overview", "getting started", "index", "readme", "changelog"}
    return {f"title {title}", f"file {stem}"} if title not in generic else {f"file {stem}"}


def _headings(text: str) -> set[str]:
    return {re.sub(r"\W+", " ", found.lower()).strip() for found in re.findall(r"(?m)^#{1,6}\s+(.+)$", text)}


def _shared_headings(older: str, newer: str) -> float:
    old = _headings(older)
    return len(old & _headings(newer)) / len(old) if old else 0.0


def contradictions(older: Dated, newer: Dated) -> list[Contradiction]:
    """Sentences of two versions that speak of the same and differ in a figure or a negation.

    Args:
        older: version of a page.
        newer: the version that stays.

    Returns:
        The most alike first; each older sentence once.
    """
    new = [
        (sentence, words, _facts(sentence))
        for sentence in _sentences(newer.unit.document.text)
        if (words := _content(sentence))
    ]
    said_now = {sentence for sentence, _, _ in new}
    found: list[tuple[float, Contradiction]] = []
    for sentence in _sentences(older.unit.document.text):
        words, facts = _content(sentence), _facts(sentence)
        if not words or sentence in said_now:
            continue
        share, other, other_facts = max(
            ((len(words & theirs) / len(words | theirs), text, figures) for text, theirs, figures in new),
            default=(0.0, "", frozenset()),
        )
        if share >= _SAME_WORDS_MIN and facts != other_facts and (facts or other_facts):
            found.append(
                (
                    share,
                    Contradiction(
                        kept_path=newer.unit.document.source_path,
                        kept_as_of=newer.as_of,
                        kept_text=other[:400],
                        dropped_path=older.unit.document.source_path,
                        dropped_as_of=older.as_of,
                        dropped_text=sentence[:400],
                    ),
                )
            )
    return [entry for _, entry in sorted(found, key=lambda item: (-item[0], item[1].dropped_text))]


def _sentences(text: str) -> list[str]:
    flat = (" ".join(part.split()) for part in _SENTENCE.split(prose(text, keep_inline_code=True)))
    return [part for part in flat if len(part.split()) >= _SENTENCE_WORDS_MIN]


def _content(sentence: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(sentence.lower()) if not word[0].isdigit() and len(word) > 3)


def _facts(sentence: str) -> frozenset[str]:
    return frozenset(_FACT.findall(sentence.lower()))
