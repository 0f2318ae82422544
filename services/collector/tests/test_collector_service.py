"""The collector as a process."""

import time
from typing import Any

import pytest

from jeeves_collector.app import create_app
from jeeves_collector.settings import CollectorSettings

BODY = "\n\nA text that is long enough to be kept as a document.\n"


def test_a_collection_over_http(collector_process: Any, write_tree: Any) -> None:
    http = collector_process.http
    root = write_tree(
        {
            "a.adoc": f"= A\n\n----\nx\n----{BODY}",
            "b.md": "",
            "p.jsonl": '{"question":"Q","answer":"A","source_path":""}',
        }
    )
    sources = (
        {"type": "tree", "name": "src", "location": str(root)},
        {"type": "pairs", "name": "pairs", "location": str(root / "p.jsonl")},
    )
    job = collector_process.wait(collector_process.submit(*sources)["id"])
    assert job["state"] == "succeeded", job
    manifest = job["result"]
    assert (manifest["documents"], manifest["code_blocks"], manifest["pairs"]) == (1, 1, 1)
    assert manifest["drops"] == {"empty": 1}
    again = collector_process.submit(*sources)
    assert again["id"] != job["id"]
    assert collector_process.wait(again["id"])["result"] == manifest

    report = http.get(f"/v1/collections/{job['id']}/report").json()
    assert report["collection_id"] == manifest["id"]
    assert report["drops"] == [{"reason": "empty", "count": 1, "samples": ["src/b.md: empty"]}]
    assert http.get("/v1/collections/none/report").status_code == 404
    assert http.get(f"/v1/manifests/{manifest['id']}").json() == manifest
    assert http.get("/v1/manifests").json() == [manifest]
    missing = http.get("/v1/manifests/collection-0000000000000000")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:jeeves:problem:not-found")
    assert http.get("/readyz").status_code == 200
    metrics = http.get("/metrics").text
    assert "jeeves_collector_documents 1.0" in metrics
    assert 'jeeves_collector_dropped_items{reason="empty"} 1.0' in metrics
    assert 'jeeves_collector_dropped_items{reason="binary"} 0.0' in metrics


def test_a_bad_source_fails_with_its_reason(collector_process: Any) -> None:
    job = collector_process.submit({"type": "tree", "name": "src", "location": "/nowhere/at/all"})
    ended = collector_process.wait(job["id"])
    assert ended["state"] == "failed"
    assert ended["error"]["type"] == "urn:jeeves:problem:source-unusable"
    assert "/nowhere/at/all does not exist" in ended["error"]["detail"]


@pytest.mark.parametrize(
    "source", [{"type": "web", "name": "x", "location": "y"}, {"type": "tree", "name": "a b", "location": "y"}]
)
def test_a_bad_recipe_is_refused_at_once(collector_process: Any, source: dict[str, Any]) -> None:
    response = collector_process.http.post("/v1/collections", json={"recipe": {"name": "x", "sources": [source]}})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


def test_kinds_of_sources(collector_process: Any) -> None:
    kinds = {kind["type"]: kind for kind in collector_process.http.get("/v1/sources").json()}
    assert set(kinds) == {
        "tree", "pairs", "questions", "feedback", "discourse", "stackexchange-api", "stackexchange-file", "plugins",
        "jenkins",
    }  # fmt: skip
    assert all(kind["description"] and kind["recipe_schema"]["properties"] for kind in kinds.values())
    assert "location" in kinds["tree"]["recipe_schema"]["properties"]
    assert kinds["tree"]["description"]


def test_killed_service_and_job_end_with_an_equal_result(
    collector: Any, collector_process: Any, write_tree: Any
) -> None:
    page = "".join(
        f"== Section {number}\n\ntext `{number}` of it\n\n----\ncode {number}\n----\n\n" for number in range(10)
    )
    root = write_tree({f"p{number:03d}.adoc": f"= Page {number}{BODY}\n{page}" for number in range(100)})
    source = {"type": "tree", "name": "src", "location": str(root)}
    job = collector_process.submit(source)
    deadline = time.monotonic() + 60
    while collector_process.job(job["id"])["progress"]["metrics"].get("documents", 0) == 0:
        assert time.monotonic() < deadline
        if collector_process.job(job["id"])["progress"]["fraction"] > 0.05:
            break
        time.sleep(0.02)
    collector_process.kill()
    collector_process.start()
    ended = collector_process.wait(job["id"])
    assert ended["state"] == "succeeded", ended
    assert ended["attempt"] == 2
    straight = collector.collect(source)
    assert ended["result"]["id"] == straight.id
    assert ended["result"]["documents"] == 100
    assert ended["result"]["code_blocks"] == 1000


def test_openapi_names_every_resource(tmp_path: Any) -> None:
    app = create_app(CollectorSettings(data_dir=tmp_path))
    assert {"/v1/collections", "/v1/collections/{job_id}", "/v1/manifests/{manifest_id}", "/v1/sources"} <= set(
        app.openapi()["paths"]
    )
