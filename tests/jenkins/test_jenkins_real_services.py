"""The Jenkinsfile against real services where that is cheap: a service that restarts, a full disk, corrections."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from declarative_runner import DeclarativeRunner, Event, Finished
from jenkins_simulator import Build, JenkinsSimulator

ROOT = Path(__file__).parents[2]
AGENTS = [{"name": "cpu-1", "labels": ["jeeves"]}]
CREDENTIALS = {"jeeves-token": "not-asked-for-on-loopback", "jeeves-api-key": "not-asked-for-on-loopback"}
REAL = Path(sys.executable).with_name("jeeves")
# What only the people of a company know: subject, place, command. All different, or the curator drops them as equal.
FACTS = [
    tuple(line.split(" | "))
    for line in """
expired signing certificates | the vault room in Lyon | certwatch --renew
red nightly builds of the billing portal | the payments guild | billtrace last
stuck macOS agents | the studio basement | macreset all
quarantined npm packages | the supply office | npmjail list
licence scans of vendored fonts | legal operations | fontscan report
flaky Selenium grids | the browser farm | gridmend 7
Gradle build caches | platform storage | cachestat gradle
orphaned Kubernetes namespaces | cluster housekeeping | nsbroom sweep
slow SonarQube quality gates | code health | sonarpace trend
release notes in Japanese | the Osaka desk | notes-ja publish
hotfix branches older than a month | release captains | branchage old
firmware images for scales | embedded north | scaleflash verify
penetration test findings | red harbour | harbour open
database migrations that were rolled back | schema wardens | migratron undo
feature flags nobody owns | experiment council | flaghunt orphans
Docker base images with Alpine | container smiths | smithy rebuild
translations that are missing | the words team | lingo gaps
load tests of the ticket shop | performance alley | stampede replay
customer invoices in the archive | finance records | invoicedig year
mobile screenshots for the stores | app curators | snapstore refresh
broken documentation links | technical writers | linkdoctor scan
Terraform state locks | infrastructure west | statelock free
telemetry gaps on Sundays | observability crew | gapfinder sunday
retired Windows 2012 servers | the museum shelf | museum inventory
GPU reservations for vision models | the pixel lab | gpuclock book
contractor accounts after projects end | people systems | offboard audit
""".strip().splitlines()
]


class Service:
    """One service as a process of its own, on a port that stays the same when it starts again."""

    def __init__(self, name: str, data_dir: Path, **env: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.name, self.data_dir, self.env = name, data_dir, env
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        data_dir = {"JEEVES_DATA_DIR": str(self.data_dir), "JEEVES_HOST": "127.0.0.1", "JEEVES_PORT": str(self.port)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"jeeves_{self.name}"],
            env={**os.environ, **data_dir, **self.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_alive(self) -> None:
        for _ in range(600):
            assert self.process.poll() is None, f"{self.name} ended"
            try:
                if self.get("/healthz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"{self.name} did not come up")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30.0, trust_env=False)

    def send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.request(method, self.url + path, json=body, timeout=60.0, trust_env=False)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


class Builds:
    """Builds of the Jenkinsfile in which some commands are the real ones."""

    def __init__(self, runner: DeclarativeRunner, folder: Path) -> None:
        self.runner, self.folder = runner, folder
        self.services: dict[str, Service] = {}
        self.source = folder / "source"
        self.source.mkdir()
        shutil.copytree(ROOT / "training-jobs", self.source / "training-jobs")

    def start(self, name: str, data_dir: Path | None = None, **env: str) -> Service:
        self.services[name] = service = Service(name, data_dir or self.folder / "data", **env)
        service.wait_alive()
        return service

    def run(self, number: int, real: tuple[str, ...], react: Any = None, **params: str | bool) -> Finished:
        plan = self.folder / f"plan-{number}.json"
        plan.write_text(json.dumps({name: {"real": True} for name in real}), encoding="utf-8")
        urls = {f"{name.upper()}_URL": service.url for name, service in self.services.items()}
        return self.runner.run(
            ROOT / "Jenkinsfile",
            self.folder / str(number),
            number=number,
            react=react,
            path=[Path(__file__).parent / "stand_ins"],
            env={
                "JEEVES_PLAN": str(plan),
                "JEEVES_SEEN": str(self.folder / f"seen-{number}.jsonl"),
                "JEEVES_REAL": str(REAL),
            },
            agents=AGENTS,
            credentials=CREDENTIALS,
            source=str(self.source),
            params={"FORCE": True, **urls, **params},
        )


@pytest.fixture
def builds(runner: DeclarativeRunner, tmp_path: Path) -> Iterator[Builds]:
    builds = Builds(runner, tmp_path)
    yield builds
    for service in builds.services.values():
        service.end()


def _pages(folder: Path, number: int) -> Path:
    folder.mkdir()
    text = "Jenkins runs the stages of a Pipeline one after another, and keeps what each of them archives. " * 20
    for one in range(number):
        (folder / f"page-{one}.md").write_text(f"# Page {one}\n\n{text}{one}\n", encoding="utf-8")
    return folder


def test_a_service_that_is_killed_and_comes_back_costs_the_build_nothing(builds: Builds, tmp_path: Path) -> None:
    collector = builds.start("collector")
    states: list[str] = []

    def kill_and_restart() -> None:
        for _ in range(600):
            if jobs := collector.get("/v1/collections").json():
                states.extend(job["state"] for job in jobs)
                collector.kill()
                time.sleep(1.0)
                collector.start()
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=kill_and_restart)

    def on_event(event: Event, send: Any) -> None:
        if event["event"] == "sh" and "jeeves collect" in event["script"]:
            watcher.start()

    build = builds.run(1, ("collect",), on_event, SOURCE=str(_pages(tmp_path / "pages", 1500)))
    watcher.join()
    assert states and states[0] in ("queued", "running"), "it was killed in the middle"
    assert build.result == "SUCCESS", build.tree() + build.log
    (job,) = collector.get("/v1/collections").json()
    assert job["state"] == "succeeded", "it was resumed, not run twice"
    collection = json.loads((build.state / "archive" / "manifests" / "collection.json").read_text(encoding="utf-8"))
    assert job["result"]["id"] == collection["id"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.builds  # the client waits two minutes for a service that says nothing
def test_a_full_disk_ends_the_build_and_is_named(builds: Builds, small_disk: Path, tmp_path: Path) -> None:
    collector = builds.start("collector", small_disk)
    build = builds.run(1, ("collect",), SOURCE=str(_pages(tmp_path / "pages", 3000)))
    assert (build.result, build.stages()["Collect"]) == ("FAILURE", "FAILURE"), build.tree() + build.log
    assert "The collector cannot go on: only 0 MiB free in the data folder" in build.log
    assert "Promoted" not in (build.description or "")
    collector.end()


def test_preflight_looks_at_the_disk_and_at_every_service(builds: Builds) -> None:
    builds.start("collector")
    build = builds.run(1, ("ci preflight",), TRAINER_URL="http://127.0.0.1:9", CURATOR_URL="http://127.0.0.1:9")
    assert (build.result, build.stages()["Preflight"]) == ("FAILURE", "FAILURE")
    assert "the trainer does not answer" in build.log
    assert "the curator does not answer" in build.log


def _corrected(gateway: Service, questions: list[str]) -> str:
    """Ask, correct, accept; the gateway's export."""
    for number, question in enumerate(questions):
        body = {"model": "jeeves", "messages": [{"role": "user", "content": question}]}
        answer = gateway.send("POST", "/v1/chat/completions", body)
        said = {"question": question, "answer": answer["choices"][0]["message"]["content"]}
        given = {
            "response_id": answer["id"],
            "rating": "down",
            "corrected_answer": _answer(number),
            **said,
        }
        feedback = gateway.send("POST", "/v1/feedback", given)
        accepted = gateway.send("POST", f"/v1/admin/feedback/{feedback['id']}/review", {"accept": number != 0})
        assert accepted["state"] == ("accepted" if number else "rejected")
    return gateway.get("/v1/admin/feedback/export").text


def _answer(number: int) -> str:
    subject, place, tool = FACTS[number]
    return f"{subject.capitalize()} belong to {place}: ask there first, then run {tool} and paste what it prints."


@pytest.mark.builds  # two curations and a gateway
def test_corrections_become_part_of_the_next_data_set(builds: Builds, tmp_path: Path) -> None:
    builds.start("collector")
    curator = builds.start("curator")
    gateway = builds.start("gateway", JEEVES_GATEWAY_ENGINE_URL="http://127.0.0.1:9/v1")
    recipe = builds.source / "own.yaml"
    pages = "training-jobs/starter-pack/documents/administration"
    documents = {"type": "tree", "name": "pages", "location": pages, "licence": "Apache-2.0"}
    recipe.write_text(yaml.safe_dump({"schema_version": 1, "name": "own", "sources": [documents]}), encoding="utf-8")
    commands = ("collect", "index", "curate")
    parameters = {"COLLECT_RECIPE": "own.yaml", "DRY_RUN": True}
    before = builds.run(1, commands, **parameters)
    assert before.result == "SUCCESS", before.log
    manifests = before.state / "archive" / "manifests"
    index = json.loads((manifests / "index.json").read_text(encoding="utf-8"))
    gateway.send("PUT", "/v1/admin/index", {"index": index})

    # One more than is accepted: the reviewer refuses the first.
    questions = [f"Who looks after {subject} at Acme?" for subject, _, _ in FACTS]
    export = tmp_path / "feedback.jsonl"
    export.write_text(_corrected(gateway, questions), encoding="utf-8")
    assert len(export.read_text(encoding="utf-8").splitlines()) == len(FACTS) - 1 == 25
    feedback = {"type": "feedback", "name": "feedback", "location": str(export)}
    both = {"schema_version": 1, "name": "own", "sources": [documents, feedback]}
    (builds.source / "own-and-corrected.yaml").write_text(yaml.safe_dump(both), encoding="utf-8")

    finished: list[Finished] = []

    def on_build(build: Build) -> None:
        given = {**build.parameters, "DRY_RUN": build.parameters["DRY_RUN"] == "true"}
        finished.append(builds.run(2, commands, **given))
        build.result = finished[0].result

    with JenkinsSimulator() as controller:
        controller.jobs["jeeves/retrain"] = []
        controller.on_build = on_build
        request = f"feedback-{hashlib.sha256(export.read_bytes()).hexdigest()[:12]}"
        command = [REAL, "retrain", "--request", request, "--follow", "--json"]
        command += ["--parameter", "COLLECT_RECIPE=own-and-corrected.yaml", "--parameter", "DRY_RUN=true"]
        environment = {
            **os.environ,
            "JEEVES_JENKINS_URL": controller.url,
            "JEEVES_JENKINS_USER": "ann",
            "JEEVES_JENKINS_TOKEN": "token-ann",
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr + finished[0].log
        assert len(controller.jobs["jeeves/retrain"]) == 1
    old, new = (
        json.loads((one.state / "archive" / "manifests" / "dataset.json").read_text(encoding="utf-8"))
        for one in (before, finished[0])
    )
    assert new["id"] != old["id"], "a new version"
    texts = "".join(path.read_text(encoding="utf-8") for path in (curator.data_dir / "store").rglob("*.messages.jsonl"))
    learnt = [number for number in range(len(FACTS)) if _answer(number) in texts]
    assert learnt == list(range(1, len(FACTS))), (learnt, new["drops"])
