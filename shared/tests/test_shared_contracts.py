"""Contracts: strict, immutable, and equal for equal content."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from jeeves_shared.contracts.base import Contract, canonical_json, content_hash, manifest_id
from jeeves_shared.contracts.documents import Document, Pair, Passage, Provenance, TrainingSample
from jeeves_shared.contracts.jobs import Job, JobEvent, JobProgress
from jeeves_shared.contracts.manifests import ArtifactRef, CollectionManifest, IndexManifest
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.contracts.recipes import CollectRecipe, CurateRecipe, PairsSource, Source, TrainRecipe, TreeSource
from jeeves_shared.contracts.requests import CollectionRequest, DatasetRequest

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
REF = ArtifactRef(sha256="ab" * 32, size_bytes=3, name="shard.jsonl")
PROVENANCE = Provenance(url="https://x/y", retrieved_at=NOW, licence="CC-BY-4.0", author="A", sha256="cd" * 32)
DOCUMENT = Document(source_path="docs/a.adoc", title="凭据 credentials", text="# T\n", provenance=PROVENANCE)
PAIR = Pair(id="p1", kind="how-to", question="How?", answer="So.", source_path="docs/a.adoc")
PASSAGE = Passage(section_id="1", source_path="docs/a.adoc", url="", title="T", section="S", text="x", licence="MIT")
COLLECTION = CollectionManifest(
    id="collection-1",
    source_name="docs",
    recipe_sha256="ef" * 32,
    shards=(REF,),
    documents=1,
    code_blocks=0,
    drops={"empty": 2},
    created_at=NOW,
)
INDEX = IndexManifest(
    id="index-1",
    collections=("collection-1",),
    artifact=REF,
    documents=1,
    sections=2,
    embedder="e",
    created_at=NOW,
)
JOB = Job(id="j", kind="probes", state="running", attempt=1, progress=JobProgress(fraction=0.5), created_at=NOW)
CONTRACTS: list[Contract] = [
    REF,
    DOCUMENT,
    PAIR,
    TrainingSample(pair=PAIR, passages=(PASSAGE,), answerable=True),
    COLLECTION,
    INDEX,
    JOB,
    JobEvent(sequence=1, at=NOW, type="log", data={"message": "x"}),
    CollectionRequest(recipe=CollectRecipe(name="n", sources=(TreeSource(name="a", location="/x"),))),
    DatasetRequest(recipe=CurateRecipe(name="n"), collection=COLLECTION, index=INDEX),
]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: type(contract).__name__)
def test_round_trip_through_json(contract: Contract) -> None:
    text = contract.model_dump_json()
    again = type(contract).model_validate_json(text)
    assert again == contract
    assert canonical_json(again) == canonical_json(contract)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: type(contract).__name__)
def test_unknown_fields_are_refused_and_values_do_not_change(contract: Contract) -> None:
    with pytest.raises(ValidationError, match="surprise"):
        type(contract).model_validate({**contract.model_dump(mode="json"), "surprise": 1})
    field = next(iter(type(contract).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(contract, field, getattr(contract, field))


def every_contract() -> list[type[Contract]]:
    found, todo = [], [Contract]
    while todo:
        for subclass in todo.pop().__subclasses__():
            todo.append(subclass)
            if subclass.__module__.startswith("jeeves_shared.contracts."):
                found.append(subclass)
    return found


def test_every_contract_is_frozen_forbids_extras_and_says_what_it_is() -> None:
    contracts = every_contract()
    assert len(contracts) > 30
    for contract in contracts:
        assert contract.model_config.get("frozen") is True, contract
        assert contract.model_config.get("extra") == "forbid", contract
        assert contract.__doc__, contract


def test_problems_keep_fields_that_a_newer_service_adds() -> None:
    problem = Problem.model_validate({"type": "urn:x", "title": "T", "status": 429, "detail": "d", "retry": 3})
    assert problem.model_dump()["retry"] == 3


def test_canonical_json_does_not_depend_on_order_or_platform() -> None:
    assert canonical_json({"b": [1, 2], "a": "凭据"}) == '{"a":"凭据","b":[1,2]}'
    assert canonical_json({"a": {"y": 1, "x": None}}) == canonical_json({"a": {"x": None, "y": 1}})
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert content_hash({"a": [1, 2]}) != content_hash({"a": [2, 1]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_is_no_json(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"loss": value})
    with pytest.raises(TypeError):
        canonical_json({"set": {1}})


def test_identity_is_the_same_in_another_process() -> None:
    """Python seeds its own hashes per process; identities must not."""
    identity = {"recipe": {"name": "n", "sources": ["a", "b"]}, "inputs": ["ab" * 32]}
    code = (
        "import json,sys;from jeeves_shared.contracts.base import manifest_id;"
        "print(manifest_id('collection', json.loads(sys.argv[1])))"
    )
    here = manifest_id("collection", identity)
    shuffled = json.dumps(dict(reversed(identity.items())))
    there = subprocess.run([sys.executable, "-c", code, shuffled], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here
    # Pinned: a change makes every stored manifest unknown. If it is meant, say so in CHANGELOG.md.
    assert here == "collection-3e8fff83d33344dd"


def test_identity_follows_the_recipe() -> None:
    recipe = CurateRecipe(name="n")
    same = CurateRecipe.model_validate({"seed": 17, "name": "n"})
    assert manifest_id("dataset", recipe) == manifest_id("dataset", same)
    assert manifest_id("dataset", recipe) != manifest_id("dataset", CurateRecipe(name="n", seed=18))
    assert manifest_id("dataset", recipe) != manifest_id("index", recipe)


def test_artifact_names_only_sha256() -> None:
    for wrong in ("", "AB" * 32, "ab" * 31, "../" + "a" * 61):
        with pytest.raises(ValidationError):
            ArtifactRef(sha256=wrong, size_bytes=1, name="x")


def test_sources_are_told_apart_by_type() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Source)
    assert isinstance(adapter.validate_python({"type": "tree", "name": "a", "location": "x"}), TreeSource)
    assert isinstance(adapter.validate_python({"type": "pairs", "name": "a", "location": "x"}), PairsSource)
    with pytest.raises(ValidationError, match="'tree', 'pairs'"):
        adapter.validate_python({"type": "wiki", "name": "a", "location": "x"})
    with pytest.raises(ValidationError):
        adapter.validate_python({"type": "tree", "name": "a/../b", "location": "x"})


def test_recipe_with_five_mistakes_names_all_five() -> None:
    with pytest.raises(ValidationError) as caught:
        TrainRecipe.model_validate(
            {
                "name": "n",
                "model_name": "Not Lower Case",
                "base_model": {"name": "b", "location": "wheel:x", "licence": "MIT"},
                "learning_rate": 0,
                "epochs": "many",
                "micro_batch_samples": 0,
                "max_length_tokens": 1024,
                "optimiser": "adam",
            }
        )
    assert {error["loc"][0] for error in caught.value.errors()} == {
        "model_name",
        "learning_rate",
        "epochs",
        "micro_batch_samples",
        "optimiser",
    }


def test_times_keep_their_zone() -> None:
    text = COLLECTION.model_dump_json()
    assert CollectionManifest.model_validate_json(text).created_at.utcoffset() == timedelta(0)
