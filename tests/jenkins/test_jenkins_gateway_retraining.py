"""The gateway asks for a retraining, against the simulator: once per reason, also after a crash or a lost answer."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from jenkins_simulator import JenkinsSimulator

from jeeves_gateway.app import create_app
from jeeves_gateway.feedback import Feedback, FeedbackCounts, FeedbackRequest, FeedbackReview, GivenAnswer
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.retraining import RetrainingStatus, RetrainingWatch, make_trigger, reason_for
from jeeves_gateway.settings import GatewaySettings
from jeeves_shared.jobs.store import open_database

JOB = "jeeves/retrain"


@pytest.fixture
def controller() -> Iterator[JenkinsSimulator]:
    with JenkinsSimulator() as simulator:
        simulator.jobs[JOB] = []
        yield simulator


@pytest.fixture
def settings(tmp_path: Path, controller: JenkinsSimulator) -> GatewaySettings:
    return GatewaySettings(
        data_dir=tmp_path,
        store_url=str(tmp_path / "store"),
        gateway_engine_url="http://127.0.0.1:9/v1",
        gateway_jenkins_url=controller.url,
        gateway_jenkins_user="ann",
        gateway_jenkins_token="token-ann",
        gateway_retraining_job=JOB,
        gateway_retraining_feedback=3,
        gateway_retraining_ratings=5,
        gateway_retraining_look_seconds=0.05,
    )


def give(feedback: Feedback, rating: str, number: int, accept: bool | None = None) -> None:
    given = GivenAnswer("key", f"question {number}", "answer")
    stored = feedback.add(
        FeedbackRequest(response_id=f"r{number}", rating=rating, corrected_answer="better"),  # type: ignore[arg-type]
        given,
    )
    if accept is not None:
        feedback.review(stored.id, FeedbackReview(accept=accept), "reviewer")


def new_watch(settings: GatewaySettings) -> tuple[RetrainingWatch, Feedback]:
    """As after a start of the gateway."""
    database = open_database(settings.database("gateway"))
    feedback = Feedback(database)
    watch = RetrainingWatch(
        feedback,
        GatewayRecord(database),
        make_trigger(settings),
        accepted_min=settings.gateway_retraining_feedback,
        window=settings.gateway_retraining_ratings,
        bad_share_max=settings.gateway_retraining_bad_share,
    )
    return watch, feedback


def look_until(watch: RetrainingWatch, done: Callable[[RetrainingStatus], bool]) -> RetrainingStatus:
    for _ in range(40):
        status = watch.look()
        if status is not None and done(status):
            return status
    raise AssertionError(f"still {watch.status()}")


def test_enough_accepted_feedback_starts_one_build(settings: GatewaySettings, controller: JenkinsSimulator) -> None:
    watch, feedback = new_watch(settings)
    assert watch.look() is None
    for number in range(2):
        give(feedback, "up", number, accept=True)
    give(feedback, "up", 2, accept=False)
    give(feedback, "up", 3)
    assert watch.look() is None, "two are accepted, three are needed"
    give(feedback, "up", 4, accept=True)
    finished = look_until(watch, lambda status: status.final)
    assert (finished.reason, finished.accepted, finished.result) == ("feedback", 3, "SUCCESS")
    assert finished.url.endswith("/1/")
    for _ in range(5):
        assert watch.look() == finished
    assert [build.parameters["JEEVES_REQUEST"] for build in controller.jobs[JOB]] == [finished.request_id]
    for number in range(10, 13):
        give(feedback, "up", number, accept=True)
    again = look_until(watch, lambda status: status.final and status.request_id != finished.request_id)
    assert again.accepted == 6 and len(controller.jobs[JOB]) == 2


def test_worse_answers_start_one_too(settings: GatewaySettings, controller: JenkinsSimulator) -> None:
    watch, feedback = new_watch(settings)
    for number in range(5):
        give(feedback, "down" if number < 2 else "up", number)
    assert watch.look() is None, "two of five are not more than 40 %"
    for number in range(6, 9):
        give(feedback, "down", number)
    finished = look_until(watch, lambda status: status.final)
    assert finished.reason == "quality" and len(controller.jobs[JOB]) == 1
    give(feedback, "down", 9)
    assert watch.look() == finished, "ratings from before the retraining say nothing about it"


@pytest.mark.parametrize("fault", ["lost-answer", "500", "garbage", "hang-up"])
def test_a_restart_or_a_lost_answer_starts_no_second_build(
    settings: GatewaySettings, controller: JenkinsSimulator, fault: str
) -> None:
    watch, feedback = new_watch(settings)
    for number in range(3):
        give(feedback, "up", number, accept=True)
    # Builds, queue, crumb; then the POST.
    controller.faults = ["", "", "", fault]
    first = watch.look()
    assert first is not None and first.request_id
    restarted, _ = new_watch(settings)
    finished = look_until(restarted, lambda status: status.final)
    assert finished.request_id == first.request_id and finished.problem == ""
    assert len(controller.jobs[JOB]) == 1


def test_a_controller_that_is_away_is_told(settings: GatewaySettings, controller: JenkinsSimulator) -> None:
    watch, feedback = new_watch(settings.model_copy(update={"gateway_retraining_job": "jeeves/gone"}))
    for number in range(3):
        give(feedback, "up", number, accept=True)
    status = watch.look()
    assert status is not None and status.state == "asked" and "no job jeeves/gone" in status.problem


def test_the_gateway_looks_by_itself_and_shows_it(settings: GatewaySettings, controller: JenkinsSimulator) -> None:
    _, feedback = new_watch(settings)
    for number in range(3):
        give(feedback, "up", number, accept=True)
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline, shown = time.monotonic() + 60, None
        while not shown or shown["state"] != "finished":
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
            if server.started:
                url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
                shown = httpx.get(f"{url}/v1/admin/status", timeout=10).json()["retraining"]
        actions = [line["action"] for line in httpx.get(f"{url}/v1/admin/audit", timeout=10).json()]
        assert {"retraining-asked", "retraining-queued", "retraining-finished"} <= set(actions)
    finally:
        server.should_exit = True
        thread.join(20)
    assert len(controller.jobs[JOB]) == 1


def test_reasons() -> None:
    last = RetrainingStatus(request_id="x", reason="feedback", at=datetime.now(UTC), accepted=10, given=20)
    bounds = {"accepted_min": 5, "window": 10, "bad_share_max": 0.4}
    assert reason_for(FeedbackCounts(20, 14, 9, "f"), last, **bounds) is None
    assert reason_for(FeedbackCounts(20, 15, 0, "f"), last, **bounds) == "feedback"
    assert reason_for(FeedbackCounts(30, 10, 5, "f"), last, **bounds) == "quality"
    assert reason_for(FeedbackCounts(30, 10, 4, "f"), last, **bounds) is None
    assert reason_for(FeedbackCounts(5, 2, 0, ""), last, **bounds) is None, "erased feedback is no reason"
