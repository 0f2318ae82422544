"""Text for continued pre-training: documents under their headings, without what belongs to the evaluation part."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jeeves_curator.leakage import Exam, Leak
from jeeves_curator.preferences import attribution
from jeeves_shared.contracts.curation import CuratedDocument
from jeeves_shared.contracts.forms import TextRow

TEXT_CHARACTERS = 8000
"""Length of a packed text: some 2,000 tokens. Documents are cut at blank lines, and never mixed over sources."""


@dataclass(frozen=True)
class CleanTexts:
    """Texts of both parts.

    Attributes:
        train: by path; without paragraphs that give an evaluation question or answer away.
        evaluation: by path; of the documents that belong to the evaluation part.
        leaks: what was found in documents to train on, and taken out, with the path.
    """

    train: dict[str, str]
    evaluation: dict[str, str]
    leaks: tuple[tuple[str, Leak], ...]


def clean_texts(texts: Mapping[str, str], held_out: Collection[str], exam: Exam) -> CleanTexts:
    """Split texts by part and take leaks out of those to train on.

    Args:
        texts: by path.
        held_out: paths of the evaluation part.
        exam: of the evaluation part.
    """
    train: dict[str, str] = {}
    leaks: list[tuple[str, Leak]] = []
    for path, text in texts.items():
        if path not in held_out:
            train[path], found = exam.without(text)
            leaks += [(path, leak) for leak in found]
    return CleanTexts(train, {path: text for path, text in texts.items() if path in held_out}, tuple(leaks))


def text_rows(documents: Sequence[CuratedDocument], texts: Mapping[str, str]) -> Iterator[TextRow]:
    """Rows of texts, by path.

    Args:
        documents: curated, by path.
        texts: of some of them.
    """
    for item in documents:
        document = item.document
        text = texts.get(document.source_path, "")
        if not text.strip():
            continue
        heading = " › ".join((*document.section_path, document.title))
        for number, piece in enumerate(_pieces(text)):
            yield TextRow(
                id=f"{document.source_path}#{number}",
                source_path=document.source_path,
                url=document.provenance.url,
                licence=document.provenance.licence,
                attribution=attribution(item),
                text=f"{heading}\n\n{piece}",
                language=document.language,
                as_of=item.as_of,
            )


def _pieces(text: str) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    for paragraph in text.split("\n\n"):
        if piece and size + len(paragraph) > TEXT_CHARACTERS:
            yield "\n\n".join(piece)
            piece, size = [], 0
        piece.append(paragraph)
        size += len(paragraph) + 2
    if piece:
        yield "\n\n".join(piece)
