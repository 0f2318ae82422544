"""Starts the retraining pipeline once per request, and follows it, through python-jenkins.

A request is known by a parameter of our own, `JEEVES_REQUEST`. Queue numbers are only a shortcut: they are forgotten
after some five minutes, and the answer that names one may be lost. What python-jenkins 1.8 does otherwise, and why not
here: it puts parameters into the address (they end up in access logs), changes the caller's dict, has no timeout by
default, keeps a crumb for ever, and says of every error of a queue item that it does not exist.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jenkins
import requests

from jeeves_shared.retraining.errors import JenkinsAway, JenkinsRefused, PipelineMissing

RetrainingState = Literal["queued", "running", "finished", "cancelled", "lost"]
FINAL_STATES: frozenset[RetrainingState] = frozenset({"finished", "cancelled", "lost"})

REQUEST_PARAMETER = "JEEVES_REQUEST"
POLL_SECONDS = 2.0
"""Between two looks at the controller; more often only loads it."""

PATIENCE_SECONDS = 300.0
"""How long `follow` goes on without a readable answer: a restart of a controller."""

_BUILDS_LOOKED_AT = 50
_LOOKS_BEFORE_LOST = 3
_PARAMETERS = "actions[parameters[name,value]]"


@dataclass(frozen=True)
class Retraining:
    """What is known of a request.

    Attributes:
        request_id: value of `JEEVES_REQUEST`.
        state: `lost` where neither the queue nor the latest builds know it.
        queue_id: 0 if not known.
        number: of the build, 0 before there is one.
        url: of the build.
        result: Jenkins' word once it is finished: `SUCCESS`, `UNSTABLE` (the gate refused), `FAILURE`, `ABORTED`.
        why: what a queued request waits for.
    """

    request_id: str
    state: RetrainingState
    queue_id: int = 0
    number: int = 0
    url: str = ""
    result: str = ""
    why: str = ""


class RetrainingTrigger:
    """The retraining job of one controller. Blocking; call it from a thread of its own.

    Args:
        url: of the controller.
        job: full name, with folders: `jeeves/retrain`.
        user: empty for none.
        token: API token of the user; never logged.
        timeout_seconds: of each request.
        pause: waits between two looks.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        url: str,
        job: str,
        *,
        user: str = "",
        token: str = "",
        timeout_seconds: float = 10.0,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = jenkins.Jenkins(url, user or None, token or None, timeout=timeout_seconds)
        self._url = url.rstrip("/")
        self._job = job
        self._pause = pause
        self._clock = clock

    def start(self, request_id: str, parameters: Mapping[str, str]) -> Retraining:
        """Ask for a build, unless this request was made before.

        Args:
            request_id: chosen by the caller; the same for a repetition.
            parameters: of the pipeline; not changed.

        Raises:
            JenkinsAway: no readable answer; whether it was started is not known: ask again with the same id.
            JenkinsRefused: the user may not start builds of the job.
            PipelineMissing: there is no such job.
        """
        if (known := self.find(request_id)) is not None:
            return known
        address = self._client.build_job_url(self._job, {"x": "x"}).partition("?")[0]
        body = {**parameters, REQUEST_PARAMETER: request_id}
        try:
            response = self._send(requests.Request("POST", address, data=body))
        except JenkinsAway:
            # The answer may be lost where the request was not.
            if (known := self.find(request_id)) is not None:
                return known
            raise
        queue = response.headers.get("Location", "").rstrip("/").rpartition("/")[2]
        if not queue.isdigit():
            # No queue item in the answer: it may be a proxy's, not Jenkins'.
            if (known := self.find(request_id)) is not None:
                return known
            raise JenkinsAway(f"What answers at {self._url} named no queue item; is that Jenkins?")
        return Retraining(request_id, "queued", queue_id=int(queue))

    def find(self, request_id: str, queue_id: int = 0) -> Retraining | None:
        """Look for a request in the queue and among the latest builds; None if neither knows it.

        Raises:
            JenkinsAway, JenkinsRefused, PipelineMissing: as `start`.
        """
        builds = self._read(
            f"{self._job_address()}/api/json",
            f"builds[number,url,result,building,{_PARAMETERS}]{{0,{_BUILDS_LOOKED_AT}}}",
        )
        for build in builds.get("builds", []):
            if _request_of(build) == request_id:
                done = not build.get("building") and build.get("result")
                return Retraining(
                    request_id,
                    "finished" if done else "running",
                    queue_id,
                    int(build["number"]),
                    str(build.get("url", "")),
                    str(build.get("result") or ""),
                )
        queue = self._read(f"{self._url}/queue/api/json", f"items[id,why,{_PARAMETERS}]")
        for item in queue.get("items", []):
            if _request_of(item) == request_id:
                return Retraining(request_id, "queued", int(item["id"]), why=str(item.get("why") or ""))
        if queue_id and self._cancelled(queue_id):
            return Retraining(request_id, "cancelled", queue_id)
        return None

    def follow(self, started: Retraining, on_change: Callable[[Retraining], None]) -> Retraining:
        """Look until the request is finished, cancelled or lost.

        Args:
            started: what `start` gave.
            on_change: called with every change, the first included.

        Raises:
            JenkinsAway: no readable answer for `PATIENCE_SECONDS`.
            JenkinsRefused, PipelineMissing: as `start`.
        """
        now, unseen, answered = started, 0, self._clock()
        on_change(now)
        while now.state not in FINAL_STATES:
            self._pause(POLL_SECONDS)
            try:
                found = self.find(now.request_id, now.queue_id)
            except JenkinsAway:
                if self._clock() - answered > PATIENCE_SECONDS:
                    raise
                continue
            answered = self._clock()
            unseen = 0 if found else unseen + 1
            if found is None and unseen < _LOOKS_BEFORE_LOST:
                continue  # between the queue and its build, an item is in neither for a moment
            found = found or replace(now, state="lost", why="")
            if found != now:
                on_change(found)
            now = found
        return now

    def _job_address(self) -> str:
        return str(self._client.build_job_url(self._job)).rpartition("/")[0]

    def _cancelled(self, queue_id: int) -> bool:
        try:
            item = self._read(f"{self._url}/queue/item/{queue_id}/api/json", "cancelled")
        except PipelineMissing:
            return False  # forgotten: some five minutes after it left the queue
        return bool(item.get("cancelled"))

    def _read(self, address: str, tree: str) -> dict[str, Any]:
        response = self._send(requests.Request("GET", address, params={"tree": tree}))
        try:
            answer = json.loads(response.text)
        except ValueError as exc:
            raise JenkinsAway(f"What answers at {self._url} is no JSON; is that Jenkins?") from exc
        if not isinstance(answer, dict):
            raise JenkinsAway(f"What answers at {self._url} is not what Jenkins answers.")
        return answer

    def _send(self, request: requests.Request) -> requests.Response:
        """One request; a crumb that the controller no longer takes is fetched anew, once."""
        try:
            return self._try(request)
        except JenkinsRefused:
            if request.method != "POST":
                raise
            self._client.crumb = None
            return self._try(request)

    def _try(self, request: requests.Request) -> requests.Response:
        try:
            response: requests.Response = self._client.jenkins_request(request, add_crumb=request.method == "POST")
        except jenkins.NotFoundException as exc:
            raise PipelineMissing(f"Jenkins has no job {self._job}, or its user may not see it.") from exc
        except (jenkins.TimeoutException, requests.RequestException) as exc:
            raise JenkinsAway(f"Jenkins does not answer at {self._url}; try later.") from exc
        except jenkins.JenkinsException as exc:
            # python-jenkins says the same of 401, 403 and 500; the number is in its text.
            if "[500]" in str(exc):
                raise JenkinsAway("Jenkins has an error of its own; its log says which.") from exc
            raise JenkinsRefused(
                f"Jenkins refused: give its user the permissions Job/Read and Job/Build on {self._job}."
            ) from exc
        return response


def _request_of(item: Mapping[str, Any]) -> str:
    """The `JEEVES_REQUEST` of a build or queue item, empty if it has none."""
    for action in item.get("actions") or ():
        for parameter in (action or {}).get("parameters") or ():
            if parameter.get("name") == REQUEST_PARAMETER:
                return str(parameter.get("value", ""))
    return ""
