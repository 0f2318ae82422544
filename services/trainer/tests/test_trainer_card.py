"""The card of a model version: both forms say the same, hold the curve, and escape what is not ours."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
import yaml

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import ModelFile, RoundTrip, TrainingManifest
from jeeves_shared.jobs.store import open_database
from jeeves_trainer.app import NAME, create_app
from jeeves_trainer.curve_picture import curve_svg
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.settings import TrainerSettings
from jeeves_trainer.tuning import curve_lines

CURVE = [
    {"step": 0.0, "eval_loss": 3.0},
    {"step": 1.0, "loss": 2.5},
    {"step": 2.0, "loss": 2.0, "eval_loss": 2.2},
    {"step": 3.0, "loss": 1.0, "eval_loss": 2.6},
]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def training(store: ArtifactStore, make_training) -> TrainingManifest:
    curve = store.put_bytes(curve_lines(CURVE), "curve.jsonl")
    figures = {"steps": 3, "best_step": 2, "eval_loss_before": 3.0, "eval_loss": 2.2, "tokens_per_second": 500}
    manifest: TrainingManifest = make_training(store.put_bytes(b"x", "x"), curve=curve, **figures)
    store.put_manifest(manifest)
    return manifest


async def cards(tmp_path: Path, model) -> dict[str, httpx.Response]:
    settings = TrainerSettings(data_dir=tmp_path)
    ModelRegistry(open_database(settings.database(NAME))).register(model, "test", "test")
    transport = httpx.ASGITransport(app=create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return {form: await client.get(f"/v1/models/{model.id}/card?form={form}") for form in ("html", "markdown")}


async def test_both_forms_hold_what_is_known(tmp_path, store, training, make_model, make_report):
    trip = RoundTrip(
        probes=4,
        positions=90,
        mean_kl_divergence=0.0031,
        greedy_agreement=0.977,
        perplexity=3.1,
        reference_perplexity=3.0,
    )
    artifact = store.put_bytes(b"gguf", "tiny-jeeves-v1-Q8_0.gguf")
    model = make_model().model_copy(
        update={
            "name": 'jeeves"<script>',
            "files": (ModelFile(quantization="Q8_0", artifact=artifact, round_trip=trip),),
        }
    )
    make_report(store, model.id, passed=False)
    found = await cards(tmp_path, model)
    page, text = found["html"].text, found["markdown"].text
    for part in (artifact.sha256, "KL 0.0031", "3.000 → 2.200", "the gate refused", "answers_improve", "dataset-0"):
        assert part in page and part in text, part
    assert "<script>" not in page and "default-src 'none'" in found["html"].headers["content-security-policy"]
    front = yaml.safe_load(text.split("---\n")[1])
    assert (front["license"], front["model_name"]) == ("apache-2.0", 'jeeves"<script>')
    picture = re.search(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text)
    assert picture is not None and base64.b64decode(picture[1]).decode() == curve_svg(CURVE)
    assert curve_svg(CURVE) in page


async def test_a_card_compares_quantizations_on_the_same_samples(tmp_path, store, make_model, make_report):
    small = make_report(store, "model-1", passed=True)
    large = store.put_bytes(b"a larger file", "tiny-BF16.gguf")
    other = {"id": "evaluation-BF16", "quantization": "BF16", "file": large}
    store.put_manifest(small.model_copy(update=other))
    found = await cards(tmp_path, make_model())
    assert "## Before and after quantization" in found["markdown"].text
    assert "|  | samples | base BF16 | tuned BF16 | base Q8_0 | tuned Q8_0 |" in found["markdown"].text
    assert "<h2>Before and after quantization</h2>" in found["html"].text
    # On other samples figures say nothing of each other.
    store.put_manifest(
        small.model_copy(
            update={
                **other,
                "id": "evaluation-0",
                "evaluation_sha256": "1" * 64,
                "created_at": datetime(2027, 1, 1, tzinfo=UTC),
            }
        )
    )
    again = await cards(tmp_path, make_model())
    assert "Before and after" not in again["markdown"].text


async def test_a_version_whose_training_is_gone_has_a_card(tmp_path, store, make_model):
    found = await cards(tmp_path, make_model())
    assert [response.status_code for response in found.values()] == [200, 200]
    assert "not measured" in found["markdown"].text and "svg" not in found["html"].text


def test_the_picture_marks_the_best_checkpoint():
    drawn = ElementTree.fromstring(curve_svg(CURVE))  # noqa: S314 - our own text
    dots = [(float(dot.get("cx", 0)), float(dot.get("cy", 0)), dot.get("r")) for dot in drawn.iter(f"{SVG}circle")]
    assert [radius for _, _, radius in dots] == ["3", "6", "3"]
    # A lower loss lies lower in the picture, a later step further right.
    assert dots[0][1] < dots[2][1] < dots[1][1] and dots[0][0] < dots[1][0] < dots[2][0]
    assert curve_svg([]) == ""
