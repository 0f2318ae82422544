"""The rows of a data set in the forms that other programs read, as JSON Lines and Parquet.

| form | a row | read by |
|---|---|---|
| `messages` | `messages`: system, user, assistant | TRL, OpenAI, Axolotl |
| `alpaca` | `instruction`, `input`, `output` | LLaMA-Factory, Axolotl |
| `sharegpt` | `conversations`: `from`, `value` | LLaMA-Factory, FastChat |
| `preference` | `prompt`, `chosen`, `rejected`: `PreferenceRow` | the trainer's stage `dpo`, TRL |
| `text` | `text`: documents with their headings, packed: `TextRow` | the trainer's stage `cpt` |

Every row says where it comes from: `id`, `source_path`, `url`, `licence`, `attribution`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jeeves_curator.preferences import attribution, preferences
from jeeves_shared.artifacts import atomic_path, write_atomic
from jeeves_shared.contracts.base import canonical_json
from jeeves_shared.contracts.curation import CuratedDocument
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.forms import DatasetForm, DatasetPart, TextRow, form_file
from jeeves_shared.contracts.prompts import build_messages, render_sources

TEXT_CHARACTERS = 8000
"""Length of a packed text: some 2,000 tokens. Documents are cut at blank lines, and never mixed over sources."""

Row = dict[str, Any]


def write_exports(
    folder: Path,
    parts: Mapping[DatasetPart, Sequence[TrainingSample]],
    documents: Sequence[CuratedDocument],
    texts: Mapping[str, str],
) -> list[Path]:
    """Write all forms of all parts.

    Args:
        folder: where to.
        parts: rows by part, `train` and `evaluation`.
        documents: curated; those of the evaluation part's pairs never become text to train on.
        texts: of the documents, by path, as they are packed.

    Returns:
        The files, by name.

    Raises:
        StorageFull: no space left.
    """
    known = {item.document.source_path: item for item in documents}
    held_out = {sample.pair.source_path for sample in parts.get("evaluation", ())}
    written: list[Path] = []
    for part, samples in parts.items():
        forms: dict[DatasetForm, list[Row]] = {"messages": [], "alpaca": [], "sharegpt": []}
        for number, sample in enumerate(samples):
            whence = _whence(sample, number, known)
            forms["messages"].append({**_messages(sample), **whence})
            forms["alpaca"].append({**_alpaca(sample), **whence})
            forms["sharegpt"].append({**_sharegpt(sample), **whence})
        forms["preference"] = [row.model_dump(mode="json") for row in preferences(samples, known)]
        own = [item for item in documents if (item.document.source_path in held_out) == (part == "evaluation")]
        forms["text"] = [row.model_dump(mode="json") for row in _texts(own, texts)]
        for form, rows in forms.items():
            written += _write(folder, part, form, rows)
    return sorted(written)


def _messages(sample: TrainingSample) -> Row:
    messages: list[dict[str, str]] = [
        {"role": message["role"], "content": message["content"]}
        for message in build_messages(sample.pair.question, sample.passages)
    ]
    return {"messages": [*messages, {"role": "assistant", "content": sample.pair.answer}]}


def _alpaca(sample: TrainingSample) -> Row:
    sources = render_sources(sample.passages)
    return {
        "instruction": sample.pair.question,
        "input": f"Sources:\n{sources}" if sources else "",
        "output": sample.pair.answer,
    }


def _sharegpt(sample: TrainingSample) -> Row:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    turns = [{"from": names[turn["role"]], "value": turn["content"]} for turn in _messages(sample)["messages"]]
    return {"conversations": turns}


def _whence(sample: TrainingSample, number: int, known: Mapping[str, CuratedDocument]) -> Row:
    pair = sample.pair
    own = known.get(pair.source_path)
    provenance = own.document.provenance if own else None
    licences = {passage.licence for passage in sample.passages} | ({provenance.licence} if provenance else set())
    return {
        "id": f"{pair.id}-{number}",
        "kind": pair.kind,
        "answerable": sample.answerable,
        "source_path": pair.source_path,
        "section": pair.section,
        "url": provenance.url if provenance else "",
        "licence": " AND ".join(sorted(licences)),
        "attribution": attribution(own) if own else "",
        "passage_paths": [passage.source_path for passage in sample.passages],
    }


def _texts(documents: Sequence[CuratedDocument], texts: Mapping[str, str]) -> Iterator[TextRow]:
    for item in documents:
        document = item.document
        if not texts[document.source_path].strip():
            continue
        heading = " › ".join((*document.section_path, document.title))
        for number, piece in enumerate(_pieces(texts[document.source_path])):
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


def _write(folder: Path, part: DatasetPart, form: DatasetForm, rows: Sequence[Row]) -> list[Path]:
    if not rows:
        return []
    lines, parquet = folder / form_file(part, form), folder / form_file(part, form, "parquet")
    write_atomic(lines, "".join(canonical_json(row) + "\n" for row in rows).encode("utf-8"))
    with atomic_path(parquet) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows)), temporary, compression="zstd")
    return [lines, parquet]
