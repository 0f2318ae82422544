"""Two answers to one prompt, one known to be better: what a preference stage learns from."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jeeves_curator.duplicates import comparable, grams, similarity
from jeeves_curator.samples import UNANSWERABLE
from jeeves_shared.contracts.curation import CuratedDocument
from jeeves_shared.contracts.documents import Pair, Passage, TrainingSample
from jeeves_shared.contracts.feedback import FEEDBACK_TAG
from jeeves_shared.contracts.forms import ChatTurn, PreferenceRow
from jeeves_shared.contracts.prompts import REFUSAL, build_messages

REJECTED_MAX = 2
"""Rejected answers of one thread: those with the lowest scores, so that no thread drowns the others."""

REJECTED_CHARACTERS_MIN = 40
"""Shorter ones are thanks and questions back: nobody needs to learn that they are worse."""

_ALIKE = 0.8
"""Jaccard of character 5-grams from which two answers say the same."""


def preferences(samples: Sequence[TrainingSample], known: Mapping[str, CuratedDocument]) -> Iterator[PreferenceRow]:
    """Rows of one part.

    Args:
        samples: of the part.
        known: curated documents by path.
    """
    yield from _grounding(samples, known)
    asked: set[str] = set()
    for sample in samples:
        item = known.get(sample.pair.source_path)
        if item is not None and item.document.kind == "question" and sample.pair.id not in asked:
            asked.add(sample.pair.id)
            yield from _compared(sample.pair, item)


def counted(rows: Iterable[PreferenceRow]) -> dict[str, int]:
    """Number of rows by origin."""
    return dict(sorted(Counter(row.origin for row in rows).items()))


def attribution(item: CuratedDocument) -> str:
    """Title, author, address and licence of a document and of its merged copies, for people."""
    document = item.document
    parts = (document.title, document.provenance.author, document.provenance.url, document.provenance.licence)
    copies = "; also at ".join(["", *(copy.url or copy.source_path for copy in item.copies)])
    return ", ".join(part for part in parts if part) + copies


def _grounding(samples: Sequence[TrainingSample], known: Mapping[str, CuratedDocument]) -> Iterator[PreferenceRow]:
    """The answer where the passages hold it, a refusal where they do not."""
    pairs = {sample.pair.id: sample.pair for sample in samples}
    for number, sample in enumerate(samples):
        if not sample.passages:
            continue
        pair = pairs.get(sample.pair.id.removesuffix(UNANSWERABLE), sample.pair)
        if pair.kind == "refusal":  # Nobody wrote a wrong answer to it.
            continue
        chosen, rejected = (pair.answer, REFUSAL) if sample.answerable else (REFUSAL, pair.answer)
        own = known.get(pair.source_path)
        licences = {passage.licence for passage in sample.passages}
        if own:
            licences.add(own.document.provenance.licence)
        yield PreferenceRow(
            id=f"{sample.pair.id}-{number}",
            source_path=pair.source_path,
            url=own.document.provenance.url if own else "",
            licence=" AND ".join(sorted(licences)),
            attribution=attribution(own) if own else "",
            prompt=_prompt(pair.question, sample.passages),
            chosen=_answer(chosen),
            rejected=_answer(rejected),
            origin="grounding",
        )


def _compared(pair: Pair, item: CuratedDocument) -> Iterator[PreferenceRow]:
    """The answer of a thread against those that its readers, or a reviewer, found worse."""
    document = item.document
    own = comparable(pair.answer)
    chosen = next((answer for answer in document.answers if comparable(answer.text) == own), None)
    if chosen is None:
        return
    worse = [
        answer
        for answer in document.answers
        if answer.score < chosen.score
        and not answer.accepted
        and len(answer.text.strip()) >= REJECTED_CHARACTERS_MIN
        and similarity(grams(answer.text), grams(pair.answer)) < _ALIKE
    ]
    licences = {document.provenance.licence, chosen.licence}
    for number, answer in enumerate(sorted(worse, key=lambda answer: answer.score)[:REJECTED_MAX]):
        yield PreferenceRow(
            id=f"{pair.id}-rejected-{number}",
            source_path=pair.source_path,
            url=document.provenance.url,
            licence=" AND ".join(sorted({*licences, answer.licence} - {""})),
            attribution=", ".join(
                part for part in (attribution(item), chosen.author, chosen.url, answer.author, answer.url) if part
            ),
            prompt=_prompt(pair.question, ()),
            chosen=_answer(pair.answer),
            rejected=_answer(answer.text.strip()),
            origin="correction" if FEEDBACK_TAG in document.tags else "answers",
        )


def _prompt(question: str, passages: Sequence[Passage]) -> tuple[ChatTurn, ...]:
    turns = build_messages(question, passages)
    return tuple(ChatTurn(role=turn["role"], content=turn["content"]) for turn in turns)


def _answer(text: str) -> tuple[ChatTurn, ...]:
    return (ChatTurn(role="assistant", content=text),)
