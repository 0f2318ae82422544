"""Jobs over HTTP, in real processes: nothing is lost, nothing runs twice."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from jeeves_shared.jobs.store import JobStore, open_database

Service = Any
MakeService = Callable[..., Any]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie has ended; only its parent has not asked yet.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_job_runs_to_its_result(probe: Service) -> None:
    response = probe.http.post("/v1/probes", json={"name": "first"})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/probes/{job['id']}"
    ended = probe.wait(job["id"])
    assert ended["state"] == "succeeded"
    assert ended["attempt"] == 1
    assert ended["progress"]["fraction"] == 1.0
    assert ended["result"]["steps"] == 3
    assert ended["started_at"] <= ended["finished_at"]
    assert job["id"] in [item["id"] for item in probe.http.get("/v1/probes").json()]


def test_events_are_followed_live_and_resumed(probe: Service) -> None:
    job = probe.submit(name="followed", steps=6, seconds_a_step=0.25)
    events = probe.events(job["id"])
    assert [data["state"] for _, kind, data in events if kind == "state"] == ["queued", "running", "succeeded"]
    assert [data["message"] for _, kind, data in events if kind == "log"] == ["followed is finished"]
    assert any(data["message"] == "step 2" for _, kind, data in events if kind == "progress")
    numbers = [number for number, _, _ in events]
    assert numbers == sorted(set(numbers))
    assert probe.events(job["id"], after=numbers[2]) == events[3:]
    assert probe.events(job["id"], after=numbers[-1]) == []


def test_wrong_last_event_id_is_refused(probe: Service) -> None:
    job = probe.submit(name="first")
    response = probe.http.get(f"/v1/probes/{job['id']}/events", headers={"Last-Event-ID": "yesterday"})
    assert response.status_code == 422


def test_equal_request_finds_the_job_also_when_it_is_done(probe: Service) -> None:
    first = probe.submit(name="equal")
    probe.wait(first["id"])
    again = probe.http.post("/v1/probes", json={"name": "equal"})
    assert again.status_code == 200
    assert again.json()["id"] == first["id"]
    assert probe.submit(name="unequal")["id"] != first["id"]


def test_equal_request_is_a_new_job_when_the_artifacts_of_the_old_are_gone(probe: Service) -> None:
    first = probe.submit(name="swept away", steps=7)
    ended = probe.wait(first["id"])
    for path in (probe.data_dir / "store" / "blobs").rglob("steps.txt"):
        if path.parent.name == ended["result"]["artifact"]["sha256"]:
            path.unlink()
    again = probe.submit(name="swept away", steps=7)
    assert again["id"] != first["id"]
    assert probe.wait(again["id"])["state"] == "succeeded"


def test_in_flight_reuse_runs_again_after_the_end(probe: Service) -> None:
    request = {"name": "rehearsal", "steps": 4, "seconds_a_step": 0.2}
    first = probe.submit("rehearsals", **request)
    assert probe.submit("rehearsals", **request)["id"] == first["id"]
    wait_until(lambda: probe.job(first["id"], "rehearsals")["state"] == "succeeded")
    assert probe.submit("rehearsals", **request)["id"] != first["id"]


def test_idempotency_key(probe: Service) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = probe.submit("rehearsals", headers=key, name="keyed")
    wait_until(lambda: probe.job(first["id"], "rehearsals")["state"] == "succeeded")
    assert probe.submit("rehearsals", headers=key, name="keyed")["id"] == first["id"]
    other = probe.http.post("/v1/rehearsals", json={"name": "something else"}, headers=key)
    assert other.status_code == 409
    assert "new key" in other.json()["detail"]


def test_failures_are_typed(probe: Service) -> None:
    typed = probe.wait(probe.submit(name="typed", ending="typed")["id"])
    assert typed["state"] == "failed"
    assert typed["error"]["type"] == "urn:jeeves:problem:recipe"
    assert typed["error"]["errors"] == ["first: wrong", "second: wrong"]
    unexpected = probe.wait(probe.submit(name="unexpected", ending="unexpected")["id"])
    assert unexpected["error"]["type"] == "urn:jeeves:problem:job-failed"
    assert "nobody thought of this" in unexpected["error"]["detail"]
    # A failed job does not stand in the way of the next try.
    assert probe.submit(name="typed", ending="typed")["id"] != typed["id"]


def test_figures_that_are_no_numbers_do_not_make_the_job_unreadable(probe: Service) -> None:
    job = probe.submit(name="diverged", ending="not-finite", steps=1)
    assert probe.wait(job["id"])["state"] == "succeeded"
    diverged = next(data for _, _, data in probe.events(job["id"]) if data.get("message") == "diverged")
    assert diverged == {"fraction": 0.0, "message": "diverged", "metrics": {"step": 1.0}}


def test_unknown_jobs_and_jobs_of_another_kind_are_not_found(probe: Service) -> None:
    job = probe.submit(name="first")
    for method, path in [
        ("GET", "/v1/probes/nothing"),
        ("DELETE", "/v1/probes/nothing"),
        ("GET", "/v1/probes/nothing/events"),
        ("GET", f"/v1/rehearsals/{job['id']}"),
        ("DELETE", f"/v1/rehearsals/{job['id']}"),
    ]:
        response = probe.http.request(method, path)
        assert response.status_code == 404, path
        assert response.json()["type"] == "urn:jeeves:problem:not-found"


def test_mistakes_in_a_request_are_all_named(probe: Service) -> None:
    response = probe.http.post("/v1/probes", json={"steps": "many", "colour": "blue"})
    assert response.status_code == 422
    assert {mistake.split(":")[0] for mistake in response.json()["errors"]} == {
        "body.name",
        "body.steps",
        "body.colour",
    }


def test_cancel_of_a_running_job(probe: Service) -> None:
    job = probe.submit(name="cancelled", steps=1000, seconds_a_step=0.05)
    probe.wait(job["id"], lambda state: state["progress"]["fraction"] > 0)
    pid = probe.job_pid(job["id"])
    assert probe.http.delete(f"/v1/probes/{job['id']}").status_code == 202
    assert probe.wait(job["id"])["state"] == "cancelled"
    wait_until(lambda: not alive(pid))
    # Cancelling again, or what has ended, changes nothing.
    assert probe.http.delete(f"/v1/probes/{job['id']}").json()["state"] == "cancelled"


def test_metrics_count_jobs_by_state(probe: Service) -> None:
    probe.wait(probe.submit(name="first")["id"])
    text = probe.http.get("/metrics").text
    assert 'jeeves_probe_jobs_total{kind="probes",state="succeeded"}' in text
    assert 'jeeves_probe_jobs_running{kind="probes"}' in text


def test_killed_job_starts_again_and_resumes(probe: Service) -> None:
    job = probe.submit(name="killed", steps=30, seconds_a_step=0.05)
    probe.wait(job["id"], lambda state: state["progress"]["fraction"] > 0.2)
    os.kill(probe.job_pid(job["id"]), signal.SIGKILL)
    ended = probe.wait(job["id"])
    assert ended["state"] == "succeeded"
    assert ended["attempt"] == 2
    assert 0 < ended["result"]["steps_of_this_process"] < 30
    assert probe.steps(job["id"]) == [str(number) for number in range(30)]
    reasons = [data.get("reason") for _, kind, data in probe.events(job["id"]) if kind == "state"]
    assert "its process ended with signal SIGKILL" in reasons


@pytest.mark.slow
def test_job_that_keeps_crashing_is_failed_with_the_reason(probe: Service) -> None:
    job = probe.submit(name="crashing", steps=1000, ending="crash")
    ended = probe.wait(job["id"])
    assert ended["state"] == "failed"
    assert ended["error"]["type"] == "urn:jeeves:problem:job-crashed"
    assert "5 times" in ended["error"]["detail"]
    assert len(probe.steps(job["id"])) == 5


@pytest.mark.slow
def test_queued_jobs_wait_and_can_be_cancelled(probe_services: MakeService) -> None:
    service = probe_services(JEEVES_JOBS_CONCURRENT="1")
    first = service.submit(name="first", steps=1000, seconds_a_step=0.02)
    second = service.submit(name="second")
    service.wait(first["id"], lambda state: state["progress"]["fraction"] > 0)
    assert service.job(second["id"])["state"] == "queued"
    assert service.http.delete(f"/v1/probes/{second['id']}").json()["state"] == "cancelled"
    service.http.delete(f"/v1/probes/{first['id']}")
    assert service.wait(first["id"])["state"] == "cancelled"
    assert not (service.data_dir / "probe" / "work" / second["id"]).exists()


@pytest.mark.slow
def test_killed_service_takes_its_job_along_and_finishes_it_later(probe_services: MakeService) -> None:
    service = probe_services()
    job = service.submit(name="orphan", steps=40, seconds_a_step=0.05)
    service.wait(job["id"], lambda state: state["progress"]["fraction"] > 0.1)
    pid = service.job_pid(job["id"])
    service.kill()
    wait_until(lambda: not alive(pid))
    service.start()
    ended = service.wait(job["id"])
    assert ended["state"] == "succeeded"
    assert ended["attempt"] == 2
    assert service.steps(job["id"]) == [str(number) for number in range(40)]


@pytest.mark.slow
def test_stopping_service_requeues_its_job_and_does_not_wait_for_followers(probe_services: MakeService) -> None:
    service = probe_services()
    job = service.submit(name="stopped", steps=50, seconds_a_step=0.05)
    service.wait(job["id"], lambda state: state["progress"]["fraction"] > 0)
    pid = service.job_pid(job["id"])

    def follow() -> None:
        # The stream is cut off; clients come back with Last-Event-ID.
        with contextlib.suppress(httpx.TransportError):
            service.events(job["id"])

    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.5)
    started = time.monotonic()
    service.stop()
    assert time.monotonic() - started < 8
    follower.join(10)
    assert not follower.is_alive(), "the stream did not end"
    assert not alive(pid)
    service.start()
    ended = service.wait(job["id"])
    assert ended["state"] == "succeeded"
    reasons = [data.get("reason") for _, kind, data in service.events(job["id"]) if kind == "state"]
    assert "the service stops" in reasons
    assert service.steps(job["id"]) == [str(number) for number in range(50)]


@pytest.mark.slow
def test_two_services_on_one_database_leave_each_other_alone(probe_services: MakeService, tmp_path: Path) -> None:
    """A database by address may hold the jobs of all services: each runs its own kinds only."""
    url = f"sqlite:///{tmp_path / 'all.sqlite'}"
    others = JobStore(open_database(url))
    foreign = others.submit("trainings", {"any": 1}, "always").job
    running = others.submit("datasets", {"any": 2}, "always").job
    assert others.claim({"datasets"}) is not None
    service = probe_services(JEEVES_DATABASE_URL=url)
    assert service.wait(service.submit(name="own")["id"])["state"] == "succeeded"
    assert others.get(foreign.id).state == "queued"
    assert others.get(running.id).state == "running"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JEEVES_PORT": "many", "JEEVES_JOBS_CONCURRENT": "0"}, "2 wrong setting(s): JEEVES_PORT"),
        ({"JEEVES_HOST": "192.0.2.1"}, "set JEEVES_TOKEN"),
        ({"JEEVES_DATA_DIR": "/proc/jeeves"}, "JEEVES_DATA_DIR: /proc/jeeves cannot be made"),
        ({"JEEVES_DATABASE_URL": "sqlite:////proc/jeeves.sqlite"}, "correct JEEVES_DATABASE_URL"),
    ],
)
def test_service_that_cannot_start_says_so_in_one_message(
    environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    script = Path(__file__).parent / "probe" / "probe_service.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "JEEVES_DATA_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("jeeves probe: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
