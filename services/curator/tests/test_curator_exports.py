"""The rows as other programs read them, and the card as a person does."""

import importlib.util
import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest

from jeeves_shared.contracts.manifests import DatasetManifest

Library = tuple[Any, DatasetManifest]


def files_of(library: Library) -> dict[str, Any]:
    bench, manifest = library
    return {ref.name: bench.store.path(ref) for ref in manifest.exports}


def test_every_form_is_there_in_both_formats_with_equal_rows(made_once: Library) -> None:
    found = files_of(made_once)
    forms = {name.rpartition(".")[0] for name in found}
    assert forms == {
        *(f"train.{form}" for form in ("messages", "alpaca", "sharegpt", "preference", "text")),
        *(f"evaluation.{form}" for form in ("messages", "alpaca", "sharegpt", "preference")),
    }
    for form in forms:
        rows = [json.loads(line) for line in found[f"{form}.jsonl"].read_text(encoding="utf-8").splitlines()]
        table = pq.read_table(found[f"{form}.parquet"]).to_pylist()
        assert table == rows
        assert all(row["licence"] for row in rows if row["source_path"])
        assert len({row["id"] for row in rows}) == len(rows)


def test_rows_say_where_they_come_from(made_once: Library) -> None:
    found = files_of(made_once)
    row = next(
        row
        for line in found["train.messages.jsonl"].read_text(encoding="utf-8").splitlines()
        if (row := json.loads(line))["source_path"]
    )
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
    assert row["url"].startswith("https://example.org/")
    assert row["licence"] == "Apache-2.0"
    assert row["url"] in row["attribution"]


def test_no_text_to_train_on_comes_from_an_evaluation_document(made_once: Library) -> None:
    found = files_of(made_once)
    held_out, texts = (
        {json.loads(line)["source_path"] for line in found[name].read_text(encoding="utf-8").splitlines()} - {""}
        for name in ("evaluation.messages.jsonl", "train.text.jsonl")
    )
    assert held_out
    assert texts
    assert not held_out & texts


@pytest.mark.slow
def test_the_library_datasets_loads_them(made_once: Library, tmp_path: Any) -> None:
    if importlib.util.find_spec("datasets") is None:
        pytest.fail("the package `datasets` is not installed: run `make install-test`")
    import datasets  # noqa: PLC0415

    found = files_of(made_once)
    for form in ("messages", "alpaca", "sharegpt"):
        for kind, ending in (("json", "jsonl"), ("parquet", "parquet")):
            parts = {part: str(found[f"{part}.{form}.{ending}"]) for part in ("train", "evaluation")}
            loaded = datasets.load_dataset(kind, data_files=parts, cache_dir=str(tmp_path / form / kind))
            assert set(loaded) == {"train", "evaluation"}
            assert len(loaded["train"]) == made_once[1].train_samples


def test_the_card_is_one_html_file_that_loads_nothing(made_once: Library) -> None:
    bench, manifest = made_once
    page = bench.store.read_bytes(manifest.card_html).decode()
    assert "<svg" in page
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|<img|\ssrc=|\son\w+=", page)
    text = bench.store.read_bytes(manifest.card).decode()
    assert "sankey-beta" in text
    for heading in ("Leakage", "Attribution", "Redactions", "Near duplicates", "Quality of the paragraphs, by score"):
        assert f"## {heading}" in text
        assert f"<h2>{heading}</h2>" in page


def test_a_hostile_title_stays_text_on_the_card(bench: Any) -> None:
    documents, pairs = bench.library()
    documents = [item.model_copy(update={"title": "<script>alert(1)</script>"}) for item in documents]
    manifest = bench.dataset(bench.collection(documents, pairs))
    page = bench.store.read_bytes(manifest.card_html).decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_card_shows_the_difference_to_the_previous_version(made_once: Library, bench: Any) -> None:
    _, previous = made_once
    documents, pairs = bench.library()
    request = bench.request(bench.collection(documents[:-2], pairs))
    manifest = bench.run_dataset({**request, "previous": previous.model_dump(mode="json")})
    card = bench.store.read_bytes(manifest.card).decode()
    part = card.partition("## Difference to the previous version")[2].partition("## ")[0]
    assert f"| training rows | {previous.train_samples} | {manifest.train_samples} |" in part
    assert "| dropped: document-missing | 0 | 4 | +4 |" in part
