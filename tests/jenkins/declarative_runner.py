"""Runs a Jenkinsfile for real, without Jenkins: the Groovy program beside this file, driven from Python.

Stages, parallel, matrix, when, input, options, credentials, post, agents (folders), stashes, archives, abort, restart
from a stage and lost agents are executed; `sh` runs `/bin/sh`. A test reads the events as they come and may answer.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jeeves_shared.jenkinsfile.groovy_ast import java_home

SOURCES = Path(__file__).with_name("runner")
TIMEOUT_SECONDS = 600.0

Event = dict[str, Any]
React = Callable[[Event, Callable[..., None]], None]


@dataclass
class Finished:
    """A build that ended."""

    events: list[Event]
    state: Path
    result: str = ""
    description: str | None = None
    name: str = ""
    log: str = field(init=False)

    def __post_init__(self) -> None:
        self.log = "\n".join(event["line"] for event in self.events if event["event"] == "log")
        last = self.events[-1]
        assert last["event"] == "finished", self.log
        self.result, self.description, self.name = last["result"], last["description"], last["displayName"]

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event["event"] == name]

    def stages(self) -> dict[str, str]:
        """Result of each stage that ran, by its path."""
        return {" / ".join(event["path"]): event["result"] for event in self.named("stage-end")}

    def skipped(self) -> dict[str, str]:
        return {" / ".join(event["path"]): event["reason"] for event in self.named("stage-skipped")}

    def post(self) -> list[str]:
        return [event["condition"] for event in self.named("post") if not event["path"]]

    def archived(self) -> set[str]:
        folder = self.state / "archive"
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def tree(self) -> str:
        """The stages with their times, for people."""
        lines = []
        for event in self.events:
            if event["event"] in ("stage-end", "stage-skipped"):
                what = event["result"] if event["event"] == "stage-end" else f"skipped by {event['reason']}"
                depth = "  " * (len(event["path"]) - 1)
                lines.append(f"{depth}{event['path'][-1]:<40} {what:<12} {event.get('seconds', 0):8.2f} s")
        return "\n".join(lines)


class DeclarativeRunner:
    """Compiles the runner once; runs builds."""

    def __init__(self, classes: Path) -> None:
        self.environment = {
            **os.environ,
            "JAVA_HOME": java_home() or "",
            "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        }
        self.classes = classes
        sources = [
            str(path.relative_to(SOURCES)) for path in sorted(SOURCES.rglob("*.groovy")) if path.name != "run.groovy"
        ]
        done = subprocess.run(
            ["groovyc", "-d", classes, *sources],
            cwd=SOURCES,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def run(
        self,
        jenkinsfile: Path,
        state: Path,
        *,
        react: React | None = None,
        path: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        **spec: Any,
    ) -> Finished:
        """One build.

        Args:
            jenkinsfile: the file.
            state: folder of the build: workspaces, stashes, archive.
            react: called with each event and a function that sends a command (`abort=True`, `lose="agent"`,
                `answer="id", action="proceed"`).
            path: folders before the PATH, for stand-in programs.
            env: more variables of the build.
            timeout_seconds: after this the build is aborted, as by a person.
            spec: number, params, credentials, inputs, agents, libraries, source, restartFrom, previous, cause, job.
        """
        state.mkdir(parents=True, exist_ok=True)
        description = state / "build.json"
        description.write_text(
            json.dumps({**spec, "env": dict(env or {}), "jenkinsfile": str(jenkinsfile), "state": str(state)}),
            encoding="utf-8",
        )
        environment = {**self.environment, "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]])}
        command = ["groovy", "-cp", str(self.classes), str(SOURCES / "run.groovy"), str(description)]
        events: list[Event] = []
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin = process.stdin

            def send(**what: Any) -> None:
                stdin.write(json.dumps(what) + "\n")
                stdin.flush()

            # An abort and not a kill: the steps and what they started are to end, too.
            killer = threading.Timer(timeout_seconds, send, kwargs={"abort": True})
            killer.start()
            try:
                for line in process.stdout:
                    events.append(json.loads(line))
                    if react is not None:
                        react(events[-1], send)
            finally:
                killer.cancel()
                if process.poll() is None and not (events and events[-1]["event"] == "finished"):
                    process.kill()
            assert process.stderr is not None
            assert events and events[-1]["event"] == "finished", (events[-5:], process.stderr.read())
        return Finished(events, state)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> DeclarativeRunner:
    if shutil.which("groovyc") is None or java_home() is None:
        pytest.skip("groovy is not installed: apt install groovy default-jre-headless")
    return DeclarativeRunner(tmp_path_factory.mktemp("runner-classes"))
