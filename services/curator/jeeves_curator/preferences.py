"""Two answers to one prompt, one known to be better: what a preference stage learns from."""

from collections.abc import Iterator, Mapping, Sequence

from jeeves_curator.samples import UNANSWERABLE
from jeeves_shared.contracts.curation import CuratedDocument
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.forms import ChatTurn, PreferenceRow
from jeeves_shared.contracts.prompts import REFUSAL, build_messages


def preferences(samples: Sequence[TrainingSample], known: Mapping[str, CuratedDocument]) -> Iterator[PreferenceRow]:
    """Rows of one part.

    Args:
        samples: of the part.
        known: curated documents by path.
    """
    yield from _grounding(samples, known)


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
            prompt=_prompt(sample),
            chosen=_answer(chosen),
            rejected=_answer(rejected),
            origin="grounding",
        )


def _prompt(sample: TrainingSample) -> tuple[ChatTurn, ...]:
    turns = build_messages(sample.pair.question, sample.passages)
    return tuple(ChatTurn(role=turn["role"], content=turn["content"]) for turn in turns)


def _answer(text: str) -> tuple[ChatTurn, ...]:
    return (ChatTurn(role="assistant", content=text),)
