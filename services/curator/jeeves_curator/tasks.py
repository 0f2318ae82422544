"""Task families beside questions, made from the code and logs of documents without a teacher.

| family | question | answer | checked by |
|---|---|---|---|
| `write` | what a Pipeline of a page does, in words | the Pipeline as the page has it | the validator: no error |
| `explain` | a Pipeline of a page | what it does, from its syntax tree | the validator: no error |
| `convert` | a Scripted Pipeline of a page | the same as a Declarative one | the validator: Declarative, no error |
| `log` | the lines of an error, as a page quotes them | the page's sentences on cause and remedy | must name a cause |

Every answer goes through the steps of `steps` like any other pair. Where Groovy is missing, only `log` is left.
"""

import logging
import re
from collections.abc import Collection, Iterable, Iterator

from jeeves_curator.pipelines import as_declarative, described, in_sentences
from jeeves_curator.sections import documentation_prior
from jeeves_curator.split import draw
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.curation import TaskFamily
from jeeves_shared.contracts.documents import Document, Pair, PairKind
from jeeves_shared.jenkinsfile import JenkinsfileLinter, Verdict, groovy_available
from jeeves_shared.search import Section

CODE_FAMILIES: tuple[TaskFamily, ...] = ("write", "explain", "convert")
_KINDS: dict[TaskFamily, PairKind] = {"write": "syntax", "explain": "concept", "convert": "syntax", "log": "error"}
_MARKER = re.compile(r"^\s*// (?:Declarative|Script)(?:ed)?(?: Pipeline)? //\s*$\n?", re.MULTILINE)
_LANGUAGES = frozenset({"", "groovy", "jenkinsfile", "pipeline", "java"})
_FENCE = re.compile(r"^```[ \t]*(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_CALLOUT = re.compile(r"[ \t]*(?://|#)[ \t]*<\d+>[ \t]*$", re.MULTILINE)
_WARNED_OF = re.compile(
    r"\b(?:wrong|incorrect|fails|bad|do not|don't|unsafe|deprecated|not yet|snip)\b|\.{3}", re.IGNORECASE
)
"""Pages show mistakes, too, and leave things out: neither is an answer."""
_PIPELINE = re.compile(r"^\s*(?:pipeline|node)\b[^\n]*\{", re.MULTILINE)
_ERROR_LINE = re.compile(
    r"^.*(?:\b[\w.]+(?:Exception|Error)\b|\bERROR\b|\berror:|\bfatal:|\bFAILED\b|\bcannot\b|\bdenied\b).*$",
    re.MULTILINE,
)
_CAUSE = re.compile(
    r"\b(?:because|means? that|caused by|the cause|(?:happens|occurs|appears) (?:when|if)|due to|the reason|indicates"
    r"|results? from|make sure|ensure|you (?:must|need to|should|have to)|check (?:that|whether|if))\b"
    r"|(?:原因|因为|由于|意味着)",
    re.IGNORECASE,
)
_CODE_CHARACTERS = range(60, 1100)
_LOG_QUESTION = "A build fails with these lines in its log. What is the cause, and what helps?"
_LOG_CHARACTERS = range(15, 900)
_LOG_LINES_MAX = 12

logger = logging.getLogger(__name__)


def task_pairs(
    documents: Iterable[tuple[Document, list[Section]]], families: Collection[TaskFamily], limit: int, seed: int
) -> list[Pair]:
    """Pairs of the families, drawn evenly, at most `limit` of each.

    Args:
        documents: each with its sections.
        families: which; `question` is not made here.
        limit: of each family, 0 for none.
        seed: of the draw.

    Returns:
        Sorted by id.

    Raises:
        GroovyFailed: the parser did not answer.
    """
    sections = [
        (document, section)
        for document, found in documents
        if documentation_prior(document) > 0 and document.kind != "question"
        for section in found
    ]
    made = list(_log_pairs(sections)) if "log" in families else []
    wanted = [family for family in CODE_FAMILIES if family in families]
    if wanted and groovy_available():
        with JenkinsfileLinter() as linter:
            made += _code_pairs(sections, wanted, linter)
    elif wanted:
        logger.warning("Groovy is not installed: no pairs of the families that hold code (apt install groovy)")
    made.sort(key=lambda pair: draw(seed, "task", pair.id))
    taken: dict[str, list[Pair]] = {}
    for pair in made:
        taken.setdefault(pair.id.split("-")[1], []).append(pair)
    return sorted((pair for family in taken.values() for pair in family[:limit]), key=lambda pair: pair.id)


def _code_pairs(
    sections: Iterable[tuple[Document, Section]], families: Collection[TaskFamily], linter: JenkinsfileLinter
) -> Iterator[Pair]:
    seen: set[str] = set()
    for document, section in sections:
        before = ""
        for found in _FENCE.finditer(section.passage.text):
            code = _CALLOUT.sub("", _MARKER.sub("", found["code"])).strip("\n")
            key = " ".join(code.split())
            if (
                found["language"].lower() not in _LANGUAGES
                or len(code) not in _CODE_CHARACTERS
                or not _PIPELINE.search(code)
                or _WARNED_OF.search(code)
                or key in seen
            ):
                continue
            seen.add(key)
            verdict = linter.check(code)
            if any("secret" in finding.rule for finding in verdict.findings):
                continue
            if verdict.valid and verdict.style == "declarative":
                # The handbook shows some Pipelines in both forms, the Declarative one first.
                before = code if "// Script" in found["code"] or "// Declarative" in found["code"] else ""
                yield from _of_declarative(document, section, code, families, linter)
            elif "convert" in families and verdict.style == "scripted":
                twin = before if "// Script" in found["code"] else ""
                yield from _converted(document, section, code, twin, linter)


def _of_declarative(
    document: Document, section: Section, code: str, families: Collection[TaskFamily], linter: JenkinsfileLinter
) -> Iterator[Pair]:
    pipeline = described(code, linter.parse(code))
    if pipeline is None:
        return
    if "write" in families:
        question = f"Write a Declarative Pipeline that {pipeline.requirement}."
        yield _pair("write", document, section, question, _fenced(code))
    if "explain" in families:
        question = f"What does a Jenkinsfile with the following content do?\n\n{_fenced(code)}"
        yield _pair("explain", document, section, question, in_sentences(pipeline))


def _converted(document: Document, section: Section, code: str, twin: str, linter: JenkinsfileLinter) -> Iterator[Pair]:
    declarative = twin or as_declarative(code, linter.parse(code))
    if declarative and _is_clean(linter.check(declarative)):
        question = f"Convert the Scripted Pipeline to a Declarative one.\n\n{_fenced(code)}"
        yield _pair("convert", document, section, question, _fenced(declarative))


def _is_clean(verdict: Verdict) -> bool:
    return verdict.valid and verdict.style == "declarative"


def _log_pairs(sections: Iterable[tuple[Document, Section]]) -> Iterator[Pair]:
    for document, section in sections:
        text = section.passage.text
        for found in _FENCE.finditer(text):
            lines = found["code"].strip("\n").split("\n")
            log = "\n".join(lines[:_LOG_LINES_MAX])
            if len(log) not in _LOG_CHARACTERS or not _ERROR_LINE.search(log) or _looks_like_code(log):
                continue
            causes = [
                part.strip()
                for part in _FENCE.sub("", text).split("\n\n")
                if _CAUSE.search(part) and part.rstrip()[-1:] in ".`。"
            ]
            if causes:
                question = f"{_LOG_QUESTION}\n\n```text\n{log}\n```"
                yield _pair("log", document, section, question, "\n\n".join(causes[:2]))
                break


def _looks_like_code(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    return sum(line.rstrip().endswith(("{", "}", ";")) for line in lines) * 3 > len(lines)


def _fenced(code: str) -> str:
    return f"```groovy\n{code}\n```"


def _pair(family: TaskFamily, document: Document, section: Section, question: str, answer: str) -> Pair:
    return Pair(
        id=f"task-{family}-{content_hash([document.source_path, question])[:12]}",
        kind=_KINDS[family],
        question=question,
        answer=answer,
        source_path=document.source_path,
        section=section.passage.section,
    )
