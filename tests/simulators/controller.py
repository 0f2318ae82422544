"""A Jenkins controller: folders, jobs, builds, progressive logs with ConsoleNotes, crumbs, permissions.

Written from https://www.jenkins.io/doc/book/using/remote-access-api/ and the `/api/` pages that it describes. Crumbs
expire: after `crumb_uses` requests with one, it is refused with 403, as after the end of a session.
"""

import base64
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from server import Answer, Query

ENCRYPTED = "{AQAAABAAAAAwwkh7Bn3VpN8zjZJm3vKq4wXbGzJxJ0C5d6nXoKQ2Yw8=}"
NOTE = "\x1b[8mha:////4HqJpQ8ZbGp0AAAAlB+LCAAAAAAAAP9b85aBtbiIQTGjNKU4P08vOT+vOD8nVc8DAAA=\x1b[0m"


@dataclass
class Build:
    number: int
    result: str
    log: str
    failed_tests: int = 0


@dataclass
class SimulatedJob:
    name: str
    builds: list[Build] = field(default_factory=list)
    config: str = ""
    folder: bool = False


class ControllerSimulator:
    def __init__(self, jobs: list[SimulatedJob], user: str = "reader", token: str = "t0ken") -> None:
        self.jobs = {job.name: job for job in jobs}
        self.denied: set[str] = set()
        self.crumb_uses = 1_000_000
        self.crumbs_given = 0
        self._uses = 0
        self._authorization = "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()

    def respond(self, query: Query) -> Answer:
        if query.headers.get("authorization") != self._authorization:
            return Answer.text("<html>Authentication required</html>", 401, X_Jenkins="2.504.1")
        if query.path in self.denied:
            return Answer.text("Access Denied: reader is missing the permission", 403, X_Jenkins="2.504.1")
        if query.path == "/crumbIssuer/api/json":
            self.crumbs_given, self._uses = self.crumbs_given + 1, 0
            return Answer.of({"crumb": f"crumb-{self.crumbs_given}", "crumbRequestField": "Jenkins-Crumb"})
        crumb = query.headers.get("jenkins-crumb")
        if crumb is not None:
            self._uses += 1
            if crumb != f"crumb-{self.crumbs_given}" or self._uses > self.crumb_uses:
                return Answer.text("No valid crumb was included in the request", 403)
        if query.path == "/":
            return Answer.text("<html>Jenkins</html>", X_Jenkins="2.504.1")
        if query.path == "/pluginManager/api/json":
            return Answer.of({"plugins": [self._plugin("git", "5.7.0"), self._plugin("workflow-cps", "4000.v1")]})
        if query.path == "/api/json":
            return Answer.of({"_class": "hudson.model.Hudson", "jobs": self._children("")})
        return self._job(query)

    def _plugin(self, name: str, version: str) -> dict[str, Any]:
        return {
            "shortName": name,
            "longName": f"The {name} plugin",
            "version": version,
            "active": True,
            "enabled": True,
        }

    def _children(self, folder: str) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        names = [name for name in self.jobs if name.startswith(prefix) and "/" not in name[len(prefix) :]]
        children = []
        for name in names:
            url = "/".join(f"job/{part}" for part in name.split("/"))
            entry: dict[str, Any] = {
                "name": name.rpartition("/")[2],
                "url": f"http://jenkins.example/{url}/",
                "color": "red",
            }
            if self.jobs[name].folder:
                entry["jobs"] = self._children(name)
            children.append(entry)
        return children

    def _job(self, query: Query) -> Answer:
        parts = [unquote(part) for part in query.path.strip("/").split("/")]
        names: list[str] = []
        while len(parts) >= 2 and parts[0] == "job":
            names.append(parts[1])
            parts = parts[2:]
        job = self.jobs.get("/".join(names))
        if job is None:
            return Answer.text("Not found", 404)
        if parts == ["config.xml"]:
            return Answer.text(job.config)
        if parts == ["api", "json"]:
            kind = (
                "com.cloudbees.hudson.plugins.folder.Folder"
                if job.folder
                else "org.jenkinsci.plugins.workflow.job.WorkflowJob"
            )
            builds = [{"number": build.number, "url": "u"} for build in job.builds]
            first = {"number": job.builds[-1].number} if job.builds else None
            return Answer.of({
                "_class": kind, "fullName": job.name, "name": names[-1], "description": f"Builds {job.name}",
                "buildable": not job.folder, "builds": builds, "firstBuild": first,
            })  # fmt: skip
        build = next((one for one in job.builds if parts and parts[0] == str(one.number)), None)
        if build is None:
            return Answer.text("Not found", 404)
        return self._build(query, build, parts[1:])

    def _build(self, query: Query, build: Build, parts: list[str]) -> Answer:
        if parts == ["api", "json"]:
            return Answer.of({
                "number": build.number, "result": build.result or None, "building": not build.result, "duration": 65_000,
                "timestamp": 1_700_000_000_000 + build.number, "builtOn": "agent-1",
                "actions": [{}, {"causes": [{"shortDescription": "Started by timer"}]}],
            })  # fmt: skip
        if parts == ["testReport", "api", "json"] and build.failed_tests:
            cases = [
                {
                    "className": "a.B",
                    "name": f"test{number}",
                    "status": "FAILED",
                    "errorStackTrace": f"boom {number}\n  at B",
                }
                for number in range(build.failed_tests)
            ]
            return Answer.of(
                {"failCount": build.failed_tests, "suites": [{"name": "s", "cases": [*cases, {"status": "PASSED"}]}]}
            )
        if parts == ["logText", "progressiveText"]:
            raw = build.log.encode()
            start = int(query.one("start", "0"))
            return Answer.text(raw[start if start <= len(raw) else 0 :], X_Text_Size=str(len(raw)))
        return Answer.text("Not found", 404)


def pipeline_config(number: int) -> str:
    script = (
        f"pipeline {{\n  agent any\n  stages {{ stage('x') {{ steps {{ echo '{number} &amp; &lt;b&gt;' }} }} }}\n}}"
    )
    return (
        "<?xml version='1.1' encoding='UTF-8'?>\n"
        '<flow-definition plugin="workflow-job@1"><description>d</description><properties>'
        f"<p><password>{ENCRYPTED}</password><authToken>plain-{number}-secret</authToken><other>{ENCRYPTED}</other></p>"
        "</properties>"
        f'<definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition"><script>{script}</script></definition>'
        "</flow-definition>"
    )


def controller(jobs: int = 12) -> ControllerSimulator:
    made = [SimulatedJob("team", folder=True), SimulatedJob("team/inner folder", folder=True)]
    for number in range(1, jobs + 1):
        folder = ("", "team/", "team/inner folder/")[number % 3]
        log = "\n".join(
            f"[2024-01-01T00:00:{line % 60:02d}.000Z] {NOTE}\x1b[31mline {line} of {number}\x1b[0m"
            for line in range(30)
        )
        builds = [
            Build(
                3, "FAILURE", f"{log}\nERROR: script returned exit code {number}\nFinished: FAILURE\n", failed_tests=2
            ),
            Build(2, "SUCCESS", "ok\n"),
            Build(1, "UNSTABLE", "unstable\n"),
        ]
        made.append(SimulatedJob(f"{folder}job-{number:02d}", builds, pipeline_config(number)))
    return ControllerSimulator(made)
