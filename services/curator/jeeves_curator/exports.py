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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jeeves_curator.preferences import attribution, preferences
from jeeves_curator.texts import CleanTexts, text_rows
from jeeves_shared.artifacts import atomic_path, write_atomic
from jeeves_shared.contracts.base import canonical_json
from jeeves_shared.contracts.curation import CuratedDocument
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.forms import DatasetForm, DatasetPart, form_file
from jeeves_shared.contracts.prompts import build_messages, render_sources

Row = dict[str, Any]


def write_exports(
    folder: Path,
    parts: Mapping[DatasetPart, Sequence[TrainingSample]],
    documents: Sequence[CuratedDocument],
    texts: CleanTexts,
) -> list[Path]:
    """Write all forms of all parts.

    Args:
        folder: where to.
        parts: rows by part, `train` and `evaluation`.
        documents: curated.
        texts: of the documents, as they are packed.

    Returns:
        The files, by name.

    Raises:
        StorageFull: no space left.
    """
    known = {item.document.source_path: item for item in documents}
    written: list[Path] = []
    for part, samples in parts.items():
        forms: dict[DatasetForm, list[Row]] = {"messages": [], "alpaca": [], "sharegpt": []}
        for number, sample in enumerate(samples):
            whence = _whence(sample, number, known)
            forms["messages"].append({**_messages(sample), **whence})
            forms["alpaca"].append({**_alpaca(sample), **whence})
            forms["sharegpt"].append({**_sharegpt(sample), **whence})
        forms["preference"] = [row.model_dump(mode="json") for row in preferences(samples, known)]
        own = texts.train if part == "train" else texts.evaluation
        forms["text"] = [row.model_dump(mode="json") for row in text_rows(documents, own)]
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


def _write(folder: Path, part: DatasetPart, form: DatasetForm, rows: Sequence[Row]) -> list[Path]:
    if not rows:
        return []
    lines, parquet = folder / form_file(part, form), folder / form_file(part, form, "parquet")
    write_atomic(lines, "".join(canonical_json(row) + "\n" for row in rows).encode("utf-8"))
    with atomic_path(parquet) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows)), temporary, compression="zstd")
    return [lines, parquet]
