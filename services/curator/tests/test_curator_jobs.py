"""The jobs on a small real collection: what comes out, that it repeats, that it survives being stopped."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jeeves_curator import datasets, indexes
from jeeves_curator.errors import DatasetTooSmall
from jeeves_curator.support import SupportFinder
from jeeves_shared.contracts.documents import Pair, Passage, TrainingSample
from jeeves_shared.contracts.manifests import ArtifactRef, DatasetManifest, IndexManifest
from jeeves_shared.contracts.prompts import PASSAGE_CHARACTERS, PASSAGES_IN_PROMPT, PROMPT_SHA256, REFUSAL
from jeeves_shared.contracts.requests import IndexRequest
from jeeves_shared.errors import ArtifactCorrupt, JobCancelled, SourceUnusable
from jeeves_shared.search import SearchIndex

Bench = Any
Library = tuple[Any, DatasetManifest]


class StoppingContext:
    """A job's context that is cancelled after so many reports."""

    def __init__(self, inner: Any, reports: int) -> None:
        self._inner = inner
        self._left = reports
        self.work_dir, self.store, self.log = inner.work_dir, inner.store, inner.log

    def report(self, fraction: float, message: str = "", **metrics: float) -> None:
        self._left -= 1
        if self._left == 0:
            self._inner.cancel()
        self._inner.report(fraction, message, **metrics)


def rows(bench: Bench, ref: ArtifactRef) -> list[TrainingSample]:
    return [TrainingSample.model_validate_json(line) for line in bench.store.read_bytes(ref).splitlines()]


def test_an_index_is_built_once_and_answers(bench: Bench) -> None:
    collection = bench.collection(*bench.library())
    manifest = bench.index(collection)
    assert manifest.documents == 16
    assert manifest.sections == 48
    index = SearchIndex.open(bench.store.path(manifest.artifact))
    assert index.search("What is backupOption2A for?", 1)[0].passage.source_path == "src/backup/page-2.md"
    index.close()
    assert bench.index(collection) == manifest


def test_key_terms_are_words_that_an_answer_can_be_judged_by(bench: Bench) -> None:
    text = (
        "# Cloud\n\nAn agent typically runs on a virtual machine like those of a hypervisor or of Kubernetes. "
        "In a Pipeline it is asked for with `podTemplate`:\n\n```groovy\npodTemplate { echo 'x' }\n```\n"
    )
    documents, pairs = bench.library()
    built = bench.index(bench.collection([*documents, bench.document("src/cloud.md", "Cloud", text)], pairs))
    index = SearchIndex.open(bench.store.path(built.artifact))
    finder = SupportFinder(index)
    [section] = index.sections_of("src/cloud.md")

    def terms(answer: str) -> tuple[str, ...]:
        pair = Pair(id="x", kind="concept", question="Where does it run?", answer=answer, source_path="src/cloud.md")
        return finder.key_terms(pair, section)

    assert set(terms("It is typically like a machine of a hypervisor.")) == {"machine", "hypervisor"}
    assert terms("```groovy\npodTemplate { echo 'x' }\n```")[0] == "podTemplate"
    assert "groovy" not in terms("```groovy\npodTemplate { echo 'x' }\n```")
    index.close()


def test_an_index_id_depends_on_input_and_splitting_only(bench: Bench) -> None:
    documents, pairs = bench.library()
    one = bench.collection(documents, pairs)
    other = bench.collection(documents[1:], pairs)
    assert indexes.index_id(bench.recipe, one) != indexes.index_id(bench.recipe, other)
    assert indexes.index_id(bench.recipe, one) == indexes.index_id(bench.recipe.model_copy(update={"seed": 3}), one)
    longer = bench.recipe.model_copy(update={"section_characters_max": 1000})
    assert indexes.index_id(bench.recipe, one) != indexes.index_id(longer, one)


def test_an_index_of_nothing_fails_with_its_reason(bench: Bench) -> None:
    with pytest.raises(SourceUnusable, match="no usable text"):
        bench.index(bench.collection([], []))


def test_a_damaged_shard_is_named_with_its_line(bench: Bench) -> None:
    good = bench.collection(*bench.library())
    bad = good.model_copy(
        update={"id": "x", "shards": (bench.store.put_bytes(b'{"title": 1}\n', "documents-0.jsonl"),)}
    )
    request = IndexRequest(recipe=bench.recipe, collection=bad).model_dump(mode="json")
    with pytest.raises(ArtifactCorrupt, match=r"Line 1 of documents-0\.jsonl"):
        indexes.run(bench.context(), request)


def test_the_parts_share_no_document_and_no_question(made_once: Library) -> None:
    bench, manifest = made_once
    train, evaluation = rows(bench, manifest.train), rows(bench, manifest.evaluation)
    assert (len(train), len(evaluation)) == (manifest.train_samples, manifest.evaluation_samples)
    assert manifest.prompt_sha256 == PROMPT_SHA256
    for field in ("source_path", "question"):
        left, right = ({getattr(row.pair, field) for row in part} - {""} for part in (train, evaluation))
        assert left
        assert right
        assert not left & right


def test_training_rows_hold_their_support_among_distractors(made_once: Library) -> None:
    bench, manifest = made_once
    train = rows(bench, manifest.train)
    places = Counter()
    for row in train:
        assert len(row.passages) <= PASSAGES_IN_PROMPT
        assert all(len(passage.text) <= PASSAGE_CHARACTERS for passage in row.passages)
        assert len({passage.section_id for passage in row.passages}) == len(row.passages)
        if row.answerable and row.passages:
            fact = row.pair.key_terms[0]
            place = next(number for number, passage in enumerate(row.passages) if f"`{fact}`" in passage.text)
            places[place] += 1
            assert row.passages[place].section == row.pair.section
    # In the order of the search, as the gateway will put them: mostly first.
    assert max(places, key=lambda place: places[place]) == 0
    closed = [row for row in train if row.answerable and not row.passages]
    with_passages = [row for row in train if row.answerable and row.passages]
    assert 0.15 < len(closed) / len(with_passages) < 0.6


def test_unanswerable_rows_refuse_and_do_not_hold_the_answer(made_once: Library) -> None:
    bench, manifest = made_once
    refusals = [row for row in rows(bench, manifest.train) if row.pair.kind == "refusal"]
    made = [row for row in refusals if row.pair.id.endswith("-unanswerable")]
    assert made
    assert len(refusals) > len(made), "the collection's own refusals are rows too"
    assert len(refusals) <= bench.recipe.refusal_share_max * manifest.train_samples
    for row in refusals:
        assert not row.answerable
        assert row.pair.answer == REFUSAL
        assert row.passages
    for row in made:
        purpose = row.pair.question.removeprefix("Which option is for ").removesuffix("?")
        assert not any(purpose in passage.text for passage in row.passages)


def test_evaluation_rows_hold_what_the_gateway_would_find(made_once: Library) -> None:
    bench, manifest = made_once
    collection = bench.collection(*bench.library())
    index = SearchIndex.open(bench.store.path(bench.index(collection).artifact))
    for row in rows(bench, manifest.evaluation):
        hits = index.search(row.pair.question, PASSAGES_IN_PROMPT)
        assert row.passages == tuple(hit.passage for hit in hits)
        if row.pair.kind == "refusal":
            assert not row.answerable
        else:
            assert row.answerable == (row.pair.source_path in {passage.source_path for passage in row.passages})
    index.close()
    assert manifest.sample_question in {row.pair.question for row in rows(bench, manifest.evaluation) if row.answerable}


def test_the_same_input_gives_the_same_bytes(made_once: Library, bench: Bench) -> None:
    first_bench, first = made_once
    again = bench.dataset(bench.collection(*bench.library()))
    assert again.model_dump(exclude={"created_at"}) == first.model_dump(exclude={"created_at"})
    for name in ("train", "evaluation", "card"):
        assert bench.store.read_bytes(getattr(again, name)) == first_bench.store.read_bytes(getattr(first, name))


def own_passages(row: TrainingSample) -> list[Passage]:
    return [passage for passage in row.passages if passage.source_path == row.pair.source_path]


def test_one_changed_document_changes_its_sections_and_no_other_pair(made_once: Library, bench: Bench) -> None:
    first_bench, first = made_once
    documents, pairs = bench.library()
    path = "src/agents/page-1.md"
    changed = [
        item.model_copy(update={"text": f"{item.text}\nThen look at the log.\n"}) if item.source_path == path else item
        for item in documents
    ]
    second = bench.dataset(bench.collection(changed, pairs))
    assert second.id != first.id

    sections = []
    for where, manifest in ((first_bench, first), (bench, second)):
        built = where.store.get_manifest(IndexManifest, "index", manifest.index_id)
        index = SearchIndex.open(where.store.path(built.artifact))
        sections.append({item.source_path: index.sections_of(item.source_path) for item in documents})
        index.close()
    before, after = sections
    assert [name for name in before if before[name] != after[name]] == [path]
    ids = [[section.passage.section_id for section in part[path]] for part in sections]
    assert ids[0] == ids[1], "a changed sentence keeps its section's id"

    for name in ("train", "evaluation"):
        old, new = rows(first_bench, getattr(first, name)), rows(bench, getattr(second, name))
        assert [row.pair.id for row in old] == [row.pair.id for row in new]
        for one, other in zip(old, new, strict=True):
            if one.pair.source_path != path:
                # Its distractors may be others: how rare a word is has changed.
                assert one.pair == other.pair
                assert own_passages(one) == own_passages(other)


def test_another_seed_gives_another_data_set(bench: Bench) -> None:
    collection = bench.collection(*bench.library())
    one, other = bench.dataset(collection), bench.dataset(collection, seed=18)
    assert one.id != other.id
    assert one.train.sha256 != other.train.sha256


def test_drops_are_counted_and_shown_on_the_card(bench: Bench) -> None:
    documents, pairs = bench.library()
    bad = {
        "context-bound": ("What does this tutorial show?", "It shows how agents are configured on a controller."),
        "answer-too-short": ("Is there an agents menu in the controller?", "Yes."),
        "answer-too-long": ("What is in the agents menu of page one?", "agentsOption1A " * 200),
        "trivial": ("What is the agents menu of the controller?", "The menu of agents of the controller."),
        "secret": ("Which key opens the agents menu?", "The key is AKIA" + "Q" * 16 + " in the agents menu."),
        "document-missing": (
            "Where is the agents menu of the node?",
            "In the agents menu of the controller, restart it.",
        ),
        "duplicate": (pairs[0].question.lower().rstrip("?"), pairs[0].answer),
        "unsupported": ("Which vegetables suit a summer soup?", "Tomatoes, basil and cucumbers with olive oil."),
    }
    pairs += [
        Pair(
            id=f"z-{reason}",
            kind="concept",
            question=question,
            answer=answer,
            source_path="src/nowhere.md" if reason == "document-missing" else "src/agents/page-1.md",
        )
        for reason, (question, answer) in bad.items()
    ]
    manifest = bench.dataset(bench.collection(documents, pairs))
    assert manifest.drops == dict.fromkeys(sorted(bad), 1)
    assert manifest.pairs_kept == len(pairs) - len(bad) + 32, "32 from headings"
    card = bench.store.read_bytes(manifest.card).decode()
    assert "| unsupported | 1 |" in card
    assert "Tomatoes" not in card.split("## Some that were kept")[1].split("## Some that were dropped")[0]
    everything = (
        card + bench.store.read_bytes(manifest.train).decode() + bench.store.read_bytes(manifest.evaluation).decode()
    )
    assert "AKIAQ" not in everything


def test_a_training_pair_that_gives_an_evaluation_answer_away_is_dropped(bench: Bench) -> None:
    documents, pairs = bench.library()
    honest = bench.dataset(bench.collection(documents, pairs))
    exam = next(row.pair for row in rows(bench, honest.evaluation) if row.pair.kind != "refusal")
    learnt = next(row.pair for row in rows(bench, honest.train) if row.pair.kind != "refusal")
    smuggled = Pair(
        id="zz", kind="how-to", question="Tell me about the option, please, would you?", answer=exam.answer,
        source_path=learnt.source_path, section=learnt.section,
    )  # fmt: skip
    support = exam.answer.replace("Set", "Choose")
    documents = [
        document.model_copy(update={"text": f"{document.text}\n\n{support}"})
        if document.source_path == learnt.source_path
        else document
        for document in documents
    ]
    manifest = bench.dataset(bench.collection(documents, [*pairs, smuggled.model_copy(update={"section": ""})]))
    assert manifest.drops == {"leakage": 1}
    assert exam.answer not in {row.pair.answer for row in rows(bench, manifest.train)}


def test_pairs_come_from_headings_when_the_collection_brings_none(bench: Bench) -> None:
    documents, _ = bench.library()
    manifest = bench.dataset(bench.collection(documents, []))
    assert manifest.pairs_kept == 32
    row = next(row for row in rows(bench, manifest.train) if row.answerable and row.passages)
    assert row.pair.question.startswith("How do I configure ")
    assert "```groovy" in row.pair.answer
    assert len(row.pair.key_terms) >= 2
    # Nobody wrote refusals; some are made, so that refusing is judged at all.
    assert {row.pair.kind for row in rows(bench, manifest.evaluation)} >= {"how-to"}
    assert any(row.pair.kind == "refusal" for row in rows(bench, manifest.train))


@pytest.mark.parametrize("number", [0, 1])
def test_too_little_fails_with_a_remedy(bench: Bench, number: int) -> None:
    documents, pairs = bench.library()
    few = [pair for pair in pairs if pair.source_path == "src/agents/page-1.md"][:number]
    with pytest.raises(DatasetTooSmall, match="two are needed"):
        bench.dataset(bench.collection(documents, few), derive_pairs_max=0)


def test_a_job_stopped_anywhere_goes_on_to_the_same_result(made_once: Library, bench: Bench) -> None:
    first_bench, expected = made_once
    request = bench.request(bench.collection(*bench.library()))
    for stop_after in (5, 50, 80):
        with pytest.raises(JobCancelled):
            datasets.run(StoppingContext(bench.context("resumed"), stop_after), request)
    work = bench.folder / "work" / "resumed" / expected.id
    assert {path.name for path in work.iterdir()} <= {"pairs.json", "train.jsonl", "evaluation.jsonl"}
    assert (work / "pairs.json").is_file()
    done = datasets.run(bench.context("resumed"), request)
    assert done.model_dump(exclude={"created_at"}) == expected.model_dump(exclude={"created_at"})
    assert bench.store.read_bytes(done.train) == first_bench.store.read_bytes(expected.train)


def test_a_work_file_of_another_version_is_made_again(bench: Bench) -> None:
    request = bench.request(bench.collection(*bench.library()))
    context = bench.context("old")
    identity = datasets.dataset_id(datasets.DatasetRequest.model_validate(request))
    work: Path = context.work_dir / identity
    work.mkdir()
    (work / "pairs.json").write_text(json.dumps({"pairs": []}))
    assert datasets.run(context, request).pairs_kept == 69  # 37 collected, 32 from headings
