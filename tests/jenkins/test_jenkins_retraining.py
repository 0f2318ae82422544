"""Retraining through python-jenkins, against the simulator: once per request, whatever the controller does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import jenkins
import pytest
import requests
from jenkins_simulator import JenkinsSimulator

from jeeves_shared.retraining import JenkinsAway, JenkinsRefused, PipelineMissing, Retraining, RetrainingTrigger

JOB = "jeeves/retrain"


@pytest.fixture
def controller() -> Iterator[JenkinsSimulator]:
    with JenkinsSimulator() as simulator:
        simulator.jobs[JOB] = []
        yield simulator


def _trigger(controller: JenkinsSimulator, user: str = "ann", key: str = "token-ann") -> RetrainingTrigger:
    return RetrainingTrigger(controller.url, JOB, user=user, token=key, timeout_seconds=1.0, pause=lambda seconds: None)


def _follow(trigger: RetrainingTrigger, started: Retraining) -> list[Retraining]:
    seen: list[Retraining] = []
    trigger.follow(started, seen.append)
    return seen


def test_a_request_is_started_once_and_followed_to_its_end(controller: JenkinsSimulator) -> None:
    controller.queue_looks = 3
    trigger = _trigger(controller)
    parameters = {"SOURCE": "a & b?", "FORCE": "true"}
    started = trigger.start("feedback-1", parameters)
    assert started == Retraining("feedback-1", "queued", queue_id=1)
    assert trigger.start("feedback-1", parameters).state == "queued"
    assert parameters == {"SOURCE": "a & b?", "FORCE": "true"}
    seen = _follow(trigger, started)
    assert [state for state, _ in groupby(one.state for one in seen)] == ["queued", "running", "finished"]
    assert (seen[-1].number, seen[-1].result) == (1, "SUCCESS")
    assert seen[-1].url == f"{controller.url}/job/jeeves/job/retrain/1/"
    assert trigger.start("feedback-1", parameters) == Retraining(
        "feedback-1", "finished", 0, 1, seen[-1].url, "SUCCESS"
    )
    assert [build.parameters["SOURCE"] for build in controller.jobs[JOB]] == ["a & b?"]
    ((address, body),) = controller.posts
    assert address == "/job/jeeves/job/retrain/buildWithParameters", "nothing of the request is in the address"
    assert "JEEVES_REQUEST=feedback-1" in body


def test_the_library_alone_puts_parameters_into_the_address(controller: JenkinsSimulator) -> None:
    """Why the trigger does not use `build_job`; falls when python-jenkins changes."""
    client = jenkins.Jenkins(controller.url, "ann", "token-ann", timeout=1)
    given = {"SOURCE": "x"}
    client.build_job(JOB, given, token="t")
    assert "SOURCE=x" in controller.posts[0][0]
    assert given == {"SOURCE": "x", "token": "t"}


def test_a_session_that_ran_out_gets_a_new_crumb(controller: JenkinsSimulator) -> None:
    trigger = _trigger(controller)
    trigger.start("one", {})
    controller.new_session()
    assert trigger.start("two", {}).state == "queued"
    assert controller.crumbs_given == 2
    assert len(controller.items) == 2


def test_an_answer_that_is_lost_does_not_start_it_twice(controller: JenkinsSimulator) -> None:
    controller.queue_looks = 10
    trigger = _trigger(controller)
    trigger.find("warm-up")
    # Builds, queue, crumb; then the POST arrives, and its answer does not.
    controller.faults = ["", "", "", "lost-answer"]
    started = trigger.start("one", {})
    assert (started.state, started.queue_id) == ("queued", 1)
    assert trigger.start("one", {}).queue_id == 1
    assert len(controller.items) == 1


def test_a_cancelled_item_is_told_from_one_that_vanished(controller: JenkinsSimulator) -> None:
    controller.queue_looks = 10
    trigger = _trigger(controller)
    started = trigger.start("one", {})
    controller.cancel(started.queue_id)
    assert _follow(trigger, started)[-1].state == "cancelled"
    controller.vanish, controller.queue_looks, controller.remember_items = True, 0, False
    assert _follow(trigger, trigger.start("two", {}))[-1].state == "lost"


def test_the_build_is_found_when_the_queue_has_forgotten_the_item(controller: JenkinsSimulator) -> None:
    controller.remember_items, controller.queue_looks = False, 0
    trigger = _trigger(controller)
    started = trigger.start("one", {})
    controller.jobs[JOB] += []
    trigger.start("other", {})
    assert _follow(trigger, started)[-1].number == 1


def test_it_goes_on_through_slow_and_broken_answers(controller: JenkinsSimulator) -> None:
    trigger = _trigger(controller)
    started = trigger.start("one", {})
    controller.faults = ["500", "garbage", "hang-up", "slow"]
    assert _follow(trigger, started)[-1].state == "finished"


def test_it_gives_up_on_a_controller_that_stays_away(controller: JenkinsSimulator) -> None:
    times = iter(range(0, 100_000, 200))
    trigger = RetrainingTrigger(
        controller.url,
        JOB,
        user="ann",
        token="token-ann",
        timeout_seconds=1.0,
        pause=lambda seconds: None,
        clock=lambda: float(next(times)),
    )
    started = trigger.start("one", {})
    controller.faults = ["500"] * 10
    with pytest.raises(JenkinsAway):
        trigger.follow(started, lambda state: None)


def test_who_may_not_is_told_what_is_missing(controller: JenkinsSimulator) -> None:
    controller.users["bob"] = ("token-bob", {"read"})
    with pytest.raises(JenkinsRefused, match="Job/Build"):
        _trigger(controller, "bob", "token-bob").start("one", {})
    with pytest.raises(JenkinsRefused):
        _trigger(controller, "ann", "wrong").start("one", {})
    with pytest.raises(PipelineMissing):
        RetrainingTrigger(controller.url, "nothing/here", user="ann", token="token-ann").start("one", {})
    assert controller.items == []


def _retrain(controller: JenkinsSimulator, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("jeeves"), "retrain", "--request", "feedback-1", *arguments]
    environment = {**os.environ, "JEEVES_JENKINS_URL": controller.url, "JEEVES_JENKINS_USER": "ann", **env}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_command_ends_as_the_build_does(controller: JenkinsSimulator) -> None:
    controller.queue_looks = controller.build_looks = 0
    controller.result = "UNSTABLE"
    done = _retrain(controller, "--parameter", "FORCE=true", "--follow", "--json", JEEVES_JENKINS_TOKEN="token-ann")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["result"] == "UNSTABLE"
    assert controller.jobs[JOB][0].parameters == {"FORCE": "true", "JEEVES_REQUEST": "feedback-1"}
    refused = _retrain(controller, JEEVES_JENKINS_TOKEN="wrong")
    assert refused.returncode == 1
    assert "Job/Build" in refused.stderr


def test_what_a_build_left_can_be_read(controller: JenkinsSimulator) -> None:
    """The simulator's own: logs in pieces, artifacts, test reports."""

    def fill(build) -> None:
        build.log = "Started\nTraining\n"
        build.artifacts["manifests/served.json"] = b'{"version": 3}'
        build.report = {"failCount": 0, "passCount": 7}

    controller.on_build = fill
    trigger = _trigger(controller)
    done = _follow(trigger, trigger.start("one", {}))[-1]
    session = requests.Session()
    session.auth = ("ann", "token-ann")
    first = session.get(f"{done.url}logText/progressiveText", params={"start": 0}, timeout=5)
    assert first.text.endswith("Finished: SUCCESS\n")
    assert "X-More-Data" not in first.headers
    rest = session.get(f"{done.url}logText/progressiveText", params={"start": 8}, timeout=5)
    assert rest.text.startswith("Training")
    assert session.get(f"{done.url}artifact/manifests/served.json", timeout=5).json() == {"version": 3}
    assert session.get(f"{done.url}testReport/api/json", timeout=5).json()["passCount"] == 7
    client = jenkins.Jenkins(controller.url, "ann", "token-ann", timeout=5)
    assert client.get_build_console_output(JOB, 1).startswith("Started")
