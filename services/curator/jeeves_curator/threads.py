"""Pairs from question sites: what was asked, and the answer that the asker or the readers chose.

A question that nobody answered well becomes no pair and no text to train on; the step `answered` says so.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from jeeves_curator.documents.blocks import prose
from jeeves_curator.steps import Drop
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import CollectedAnswer, Document, Pair, PairKind

ANSWER_SCORE_MIN = 1
"""Votes or likes that an answer needs where the asker accepted none: one reader besides its author agreed."""

_WORDS_MIN = 6
_LINK = re.compile(r"!?\[[^\[\]]*\]\([^()\s]*\)|<?https?://\S+>?")
_ERROR = re.compile(r"\b(?:error|exception|fail(?:s|ed|ure|ing)?|cannot|can't|not working|denied)\b", re.IGNORECASE)
_THREAD = re.compile(r"/(?P<kind>questions|q|t)/(?:[^/]*[^/\d][^/]*/)?(?P<number>\d+)(?:/|$)")


def best_answer(document: Document) -> CollectedAnswer | None:
    """The accepted answer, or the one with the best score; of equals the earlier one. None if there is none.

    Args:
        document: of kind `question`.
    """
    return max(document.answers, key=lambda answer: (answer.accepted, answer.score), default=None)


def is_answered(document: Document) -> bool:
    """True if its best answer may be learnt from: accepted and not voted down, or liked by somebody."""
    best = best_answer(document)
    return best is not None and (best.score >= ANSWER_SCORE_MIN or (best.accepted and best.score >= 0))


def thread_pairs(documents: Iterable[Document], asked: frozenset[str]) -> list[Pair]:
    """A pair for each thread that has an answer, the best answered first: of two equal questions the first stays.

    Args:
        documents: curated; other kinds are left out.
        asked: paths of the threads that the collection brings a pair of already.
    """
    threads = [
        (answer, document)
        for document in documents
        if document.kind == "question" and document.source_path not in asked
        if (answer := best_answer(document)) is not None
    ]
    threads.sort(key=lambda entry: (not entry[0].accepted, -entry[0].score, -entry[1].score, entry[1].source_path))
    return [_pair(document, answer) for answer, document in threads]


def _pair(document: Document, answer: CollectedAnswer) -> Pair:
    body = document.question.strip()
    said = document.title.rstrip("…") in body
    return Pair(
        id=f"thread-{content_hash(document.source_path)[:12]}",
        kind=_kind(document.title),
        question=body if said else f"{document.title}\n\n{body}".strip(),
        answer=answer.text.strip(),
        source_path=document.source_path,
    )


def _kind(title: str) -> PairKind:
    if _ERROR.search(title):
        return "error"
    return "how-to" if title.lower().startswith("how ") else "concept"


def thread_of(document: Document) -> str:
    """What is never split between training and evaluation: the thread, whichever way and how often it was collected.

    Returns:
        Host and number of the thread for addresses of Stack Exchange and Discourse, else the path of the document.
    """
    address = urlsplit(document.provenance.url)
    found = _THREAD.search(address.path) if document.kind == "question" else None
    if found is None:
        return document.source_path
    kind = "t" if found["kind"] == "t" else "questions"
    return f"{(address.hostname or '').removeprefix('www.')}/{kind}/{found['number']}"


class Answered:
    """Pairs of threads whose answer nobody chose, or that only point elsewhere.

    Args:
        threads: documents of kind `question`, by path.
    """

    name = "answered"

    def __init__(self, threads: Mapping[str, Document]) -> None:
        self._threads = threads

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `unanswered` or `link-only`."""
        thread = self._threads.get(pair.source_path)
        if thread is None:
            return pair
        if not is_answered(thread):
            return Drop(pair, "unanswered")
        if "```" not in pair.answer and len(prose(_LINK.sub(" ", pair.answer)).split()) < _WORDS_MIN:
            return Drop(pair, "link-only")
        return pair
