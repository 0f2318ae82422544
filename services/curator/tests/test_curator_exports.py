"""The rows as other programs read them, and the card as a person does."""

import importlib.util
import json
import re
from typing import Any

import pyarrow.parquet as pq
import pytest

from jeeves_curator.quality import shipped_fit
from jeeves_curator.shards import read_lines
from jeeves_shared.contracts.forms import PreferenceRow, TextRow, find_form
from jeeves_shared.contracts.manifests import DatasetManifest
from jeeves_shared.contracts.prompts import REFUSAL

Library = tuple[Any, DatasetManifest]


def files_of(library: Library) -> dict[str, Any]:
    bench, manifest = library
    return {ref.name: bench.store.path(ref) for ref in manifest.exports}


def test_every_form_is_there_in_both_formats_with_equal_rows(made_once: Library) -> None:
    found = files_of(made_once)
    forms = {name.rpartition(".")[0] for name in found}
    assert forms == {
        f"{part}.{form}"
        for part in ("train", "evaluation")
        for form in ("messages", "alpaca", "sharegpt", "preference", "text")
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


def test_text_to_train_on_and_text_to_measure_on_share_no_document(made_once: Library) -> None:
    found = files_of(made_once)
    held_out, trained, measured = (
        {json.loads(line)["source_path"] for line in found[name].read_text(encoding="utf-8").splitlines()} - {""}
        for name in ("evaluation.messages.jsonl", "train.text.jsonl", "evaluation.text.jsonl")
    )
    assert trained
    assert measured == held_out
    assert not held_out & trained


def test_rows_of_the_trainers_stages_keep_their_contract(made_once: Library) -> None:
    bench, manifest = made_once
    for part in ("train", "evaluation"):
        preference = find_form(manifest.exports, part, "preference")
        text = find_form(manifest.exports, part, "text")
        assert preference
        assert text
        rows = list(read_lines(bench.store.path(preference), PreferenceRow, preference.name))
        assert {row.origin for row in rows} == {"grounding"}
        for row in rows:
            assert [turn.role for turn in row.prompt] == ["system", "user"]
            assert REFUSAL in {row.chosen[0].content, row.rejected[0].content}
            assert row.chosen != row.rejected
        if part == "train":
            assert {row.rejected[0].content == REFUSAL for row in rows} == {True, False}
        pieces = list(read_lines(bench.store.path(text), TextRow, text.name))
        assert all(piece.text.startswith("The ") and piece.licence == "Apache-2.0" for piece in pieces)
    assert find_form(manifest.exports[:0], "train", "text") is None


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
    fit = shipped_fit()
    measured = (fit.labels, fit.held_out, fit.precision, fit.recall, fit.agreement, fit.kappa)
    assert f"| {' | '.join(map(str, measured))} |" in text


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
