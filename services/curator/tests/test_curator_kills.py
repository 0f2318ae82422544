"""`kill -9` of the job's process in every step, one after the other in one work folder: the result is as if never."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jeeves_shared.contracts.curation import CurationReport
from jeeves_shared.contracts.documents import CollectedAnswer
from jeeves_shared.contracts.manifests import ArtifactRef
from jeeves_shared.contracts.requests import CurationRequest

Bench = Any
STEPS = (
    # Documents, in the order that they go through.
    "Quarantine.review", "NormalizeDocument.review", "Redact.review", "Substance.review", "Heuristics.review",
    "Floods.review_all", "Supersede.review_all", "Copies.review_all", "_Curation._scan", "_Curation._store",
    # Index.
    "split_document", "build_index",
    # Pairs.
    "thread_pairs", "task_pairs", "Suspicious.review", "Normalize.review", "RedactPair.review", "AnswerLength.review",
    "ContextBound.review", "Trivial.review", "DocumentKnown.review", "Answered.review", "Duplicates.review",
    "SameQuestion.review", "Supported.review", "derive_pairs", "split_pairs",
    # Rows, card and forms.
    "SampleMaker.training", "SampleMaker.evaluation", "DatasetJob._scan_again", "grade", "clean_texts", "as_html",
    "write_exports", "ArtifactStore.put_manifest",
)  # fmt: skip


def run(folder: Path, *functions: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("killed_job.py")), str(folder), *functions]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def prepared(bench: Bench, name: str) -> Path:
    documents, pairs = bench.library()
    documents = [item for item in documents if item.source_path.split("/")[1] in ("agents", "backup", "matrix")]
    answer = CollectedAnswer(
        text="They use TCP port 50000 unless the security settings name another one.", accepted=True
    )
    thread = bench.document("so/1", "Which port do inbound agents use", f"# Port\n\nWhich port?\n\n{answer.text}")
    documents.append(thread.model_copy(update={"kind": "question", "question": "Which port?", "answers": (answer,)}))
    paths = {item.source_path for item in documents}
    folder: Path = bench.folder / name
    folder.mkdir()
    bench.store = type(bench.store)(str(folder / "store"))
    recipe = bench.recipe.model_copy(update={"task_families": ("log",)})
    collection = bench.collection(documents, [pair for pair in pairs if pair.source_path in paths])
    (folder / "request.json").write_text(CurationRequest(recipe=recipe, collection=collection).model_dump_json())
    return folder


@pytest.mark.slow
def test_killed_in_every_step_and_resumed_the_result_is_equal(bench: Bench) -> None:
    straight = run(prepared(bench, "straight"))
    folder = prepared(bench, "killed")
    killed = run(folder, *STEPS)
    assert killed["ends"] == dict.fromkeys(STEPS, -9), "a step that ends otherwise was not reached"
    assert killed["manifests"] == straight["manifests"]
    report = ArtifactRef.model_validate(killed["manifests"]["curation"]["report"])
    named = {step.step for step in CurationReport.model_validate_json(bench.store.read_bytes(report)).steps}
    assert len(named) == 8, "every step of the card is among those in which the job was killed"
