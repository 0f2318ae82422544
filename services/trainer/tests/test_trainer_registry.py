"""Versions, aliases, audit; promote and rollback over HTTP."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import ModelManifest
from jeeves_shared.errors import Conflict, NotFound
from jeeves_shared.jobs.store import open_database
from jeeves_trainer.app import NAME, create_app
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.settings import TrainerSettings

ModelMaker = Callable[..., ModelManifest]


@pytest.fixture
def settings(tmp_path: Path) -> TrainerSettings:
    return TrainerSettings(data_dir=tmp_path)


@pytest.fixture
def registry(settings: TrainerSettings) -> ModelRegistry:
    return ModelRegistry(open_database(settings.database(NAME)))


@pytest.fixture
def store(settings: TrainerSettings) -> ArtifactStore:
    return ArtifactStore(settings.store())


@pytest.fixture
async def client(settings: TrainerSettings) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://trainer") as opened:
        yield opened


def aliases(registry: ModelRegistry) -> dict[str, tuple[str, ...]]:
    return {model.manifest.id: model.aliases for model in registry.models()}


def test_versions_count_per_name_and_repeat(registry: ModelRegistry):
    assert registry.reserve("model-1", "a") == 1
    assert registry.reserve("model-2", "a") == 2
    assert registry.reserve("model-3", "b") == 1
    assert registry.reserve("model-1", "a") == 1
    assert registry.models() == []
    with pytest.raises(NotFound):
        registry.get("model-1")


def test_registering_makes_a_candidate_once(registry: ModelRegistry, make_model: ModelMaker):
    registry.reserve("model-1", "jeeves-tiny")
    for _ in range(2):
        registry.register(make_model(), "trainer", "first")
    registry.register(make_model("model-2", 2), "trainer", "second")
    assert aliases(registry) == {"model-2": ("candidate",), "model-1": ()}
    assert [entry.action for entry in registry.audit()] == ["register", "register"]
    registry.register(make_model(), "trainer", "again")
    assert aliases(registry)["model-2"] == ("candidate",)


def test_promote_rollback_promote(registry: ModelRegistry, make_model: ModelMaker):
    registry.register(make_model(), "trainer", "")
    with pytest.raises(Conflict, match="previous"):
        registry.rollback("ann", "")
    registry.promote("model-1", "ann", "good")
    registry.register(make_model("model-2", 2), "trainer", "")
    registry.promote("model-2", "ann", "better")
    registry.promote("model-2", "ann", "again")
    assert aliases(registry) == {"model-2": ("champion",), "model-1": ("previous",)}
    registry.rollback("bob", "worse than thought")
    assert aliases(registry) == {"model-2": ("previous",), "model-1": ("champion",)}
    latest = registry.audit()[0]
    assert (latest.who, latest.action, latest.model_id, latest.reason) == (
        "bob",
        "rollback",
        "model-1",
        "worse than thought",
    )
    assert [entry.action for entry in registry.audit()].count("promote") == 2


async def test_promotion_needs_a_passed_report_on_this_model(client, registry, store, make_model, make_report):
    registry.register(make_model(), "trainer", "")
    registry.register(make_model("model-2", 2), "trainer", "")
    before = (await client.get("/v1/models")).json()
    refused = make_report(store, "model-1", passed=False)
    other = make_report(store, "model-2", passed=True)

    missing = await client.post("/v1/models/model-1/promote", json={"evaluation_id": "evaluation-none"})
    assert missing.status_code == 404
    no = await client.post("/v1/models/model-1/promote", json={"evaluation_id": refused.id})
    assert no.status_code == 409
    assert no.headers["content-type"] == "application/problem+json"
    assert no.json()["errors"] == ["40 % <&> 60 %"]
    wrong = await client.post("/v1/models/model-1/promote", json={"evaluation_id": other.id})
    assert wrong.status_code == 409 and "model-2" in wrong.json()["detail"]
    assert (await client.get("/v1/models")).json() == before
    assert (await client.post("/v1/models/model-9/promote", json={"evaluation_id": other.id})).status_code == 404


async def test_promote_and_rollback_over_http(client, registry, store, make_model, make_report):
    for number in (1, 2):
        registry.register(make_model(f"model-{number}", number), "trainer", "")
        report = make_report(store, f"model-{number}", passed=True)
        done = await client.post(
            f"/v1/models/model-{number}/promote", json={"evaluation_id": report.id}, headers={"X-Jeeves-Actor": "ann"}
        )
        assert done.status_code == 200 and done.json()["aliases"] == ["champion"]
    back = await client.post("/v1/models/rollback", json={"reason": "slow"})
    assert back.status_code == 200 and back.json()["manifest"]["id"] == "model-1"
    assert (await client.get("/v1/models/model-2")).json()["aliases"] == ["previous"]
    audit = (await client.get("/v1/models/audit")).json()
    assert [entry["action"] for entry in audit] == ["rollback", "promote", "promote", "register", "register"] or [
        entry["action"] for entry in audit
    ] == ["rollback", "promote", "register", "promote", "register"]
    assert audit[1]["who"] == "ann"


async def test_reports_in_three_forms(client, store, make_report):
    report = make_report(store, "model-1", passed=True)
    assert (await client.get(f"/v1/reports/{report.id}")).json()["passed"] is True
    text = await client.get(f"/v1/reports/{report.id}", params={"form": "markdown"})
    assert text.headers["content-type"].startswith("text/markdown") and "passed" in text.text
    xml = await client.get(f"/v1/reports/{report.id}", params={"form": "junit"})
    assert xml.headers["content-type"] == "application/xml" and "<testsuite" in xml.text
    assert (await client.get("/v1/reports/none")).status_code == 404
