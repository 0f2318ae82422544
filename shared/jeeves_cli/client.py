"""HTTP to the services: typed errors, and jobs that are followed across restarts of their service."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, TypeVar

import httpx
from httpx_sse import SSEError, connect_sse
from pydantic import ValidationError

from jeeves_cli.endpoints import service_url
from jeeves_cli.exits import CommandError, Exit, JobFailed, ServiceUnreachable, Terminated
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.jobs import FINAL_STATES, Job, JobEvent, JobProgress
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.settings import LOOPBACK_HOSTS

C = TypeVar("C", bound=Contract)
OnProgress = Callable[[JobProgress], None]

RESTART_PATIENCE_SECONDS = 120.0
"""How long a job's follower waits for a service that is being restarted."""

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_EVENT_SILENCE_SECONDS = 30.0


class ServiceClient:
    """Client of one service.

    Args:
        service: its name.
        url: its address; found by `service_url` when not given.
    """

    def __init__(self, service: str, url: str | None = None) -> None:
        self.service = service
        self.url = url or service_url(service)
        variable = "JEEVES_API_KEY" if service == "gateway" else "JEEVES_TOKEN"
        key = os.environ.get(variable)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment is for the world outside, not for this machine.
        self.trust_env = httpx.URL(self.url).host not in LOOPBACK_HOSTS
        self._http = httpx.Client(base_url=self.url, headers=self.headers, timeout=_TIMEOUT, trust_env=self.trust_env)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        body: Contract | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout_seconds: float = 30.0,
    ) -> Any:
        """One request; the JSON of the answer, None for an answer without a body.

        Raises:
            ServiceUnreachable: no connection.
            CommandError: the service refused, with its own words.
        """
        response = self._send(method, path, body, headers, timeout_seconds)
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            return response.json()
        except ValueError as exc:
            raise CommandError(
                f"What answers at {self.url} is not the {self.service}: {response.text[:100]!r}. Check the port.",
                Exit.UNREACHABLE,
            ) from exc

    def page(self, path: str) -> bytes:
        """What a service shows to people or other programs: HTML, XML.

        Raises:
            ServiceUnreachable, CommandError: as `request`.
        """
        return self._send("GET", path, None, None, 30.0).content

    def _send(
        self,
        method: str,
        path: str,
        body: Contract | dict[str, Any] | None,
        headers: dict[str, str] | None,
        timeout_seconds: float,
    ) -> httpx.Response:
        payload = body.model_dump(mode="json") if isinstance(body, Contract) else body
        try:
            response = self._http.request(method, path, json=payload, headers=headers, timeout=timeout_seconds)
        except httpx.TimeoutException as exc:
            raise CommandError(f"The {self.service} did not answer {path} within {timeout_seconds:.0f} s.") from exc
        except httpx.TransportError as exc:
            raise ServiceUnreachable(self.service, self.url) from exc
        if response.is_error:
            raise CommandError(error_text(self.service, response))
        return response

    def get(self, contract: type[C], path: str) -> C:
        """Read a contract.

        Raises:
            ServiceUnreachable, CommandError: as `request`.
        """
        return contract.model_validate(self.request("GET", path))

    def run_job(self, kind: str, body: Contract, result: type[C], on_progress: OnProgress) -> C:
        """Start a job, or find the equal one, and follow it to its end.

        Args:
            kind: resource, such as `trainings`.
            body: request.
            result: type of the manifest that comes out.
            on_progress: called with each progress.

        Raises:
            JobFailed: it ended as failed or cancelled.
            ServiceUnreachable: the service stayed away for `RESTART_PATIENCE_SECONDS`.
            CommandError: the request was refused, or the service's disk is full.
        """
        # One key for all tries: a request whose answer was lost does not start a second job.
        key = {"Idempotency-Key": uuid.uuid4().hex}
        job = Job.model_validate(self._patiently(lambda: self.request("POST", f"/v1/{kind}", body, headers=key)))
        after, heard_at = 0, time.monotonic()
        try:
            while job.state not in FINAL_STATES:
                before, after = after, self._follow(kind, job.id, after, on_progress)
                if after > before:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > RESTART_PATIENCE_SECONDS:
                    self._look_at_disk()
                job = Job.model_validate(self._patiently(partial(self.request, "GET", f"/v1/{kind}/{job.id}")))
        except Terminated:
            self.request("DELETE", f"/v1/{kind}/{job.id}")
            raise
        if job.state != "succeeded" or job.result is None:
            raise JobFailed(kind, job.error.detail if job.error else f"the job was {job.state}")
        return result.model_validate(job.result)

    def _follow(self, kind: str, job_id: str, after: int, on_progress: OnProgress) -> int:
        """Read events until the stream ends, for whatever reason; the last sequence number seen."""
        try:
            with connect_sse(
                self._http,
                "GET",
                f"/v1/{kind}/{job_id}/events",
                headers={"Last-Event-ID": str(after)},
                timeout=httpx.Timeout(_EVENT_SILENCE_SECONDS, connect=5.0),
            ) as source:
                for message in source.iter_sse():
                    if not message.data:
                        continue
                    event = JobEvent.model_validate_json(message.data)
                    after = event.sequence
                    if event.type == "progress":
                        on_progress(JobProgress.model_validate(event.data))
        except (httpx.TransportError, SSEError, ValidationError):
            # The service went away in the middle; the caller asks again, patiently.
            time.sleep(0.5)
        return after

    def _look_at_disk(self) -> None:
        """End the wait for a job that cannot go on: with a full disk its service cannot even write down that it failed.

        Raises:
            CommandError: too little space is left.
        """
        try:
            missing = self._http.get("/readyz").json().get("missing", {})
        except (httpx.TransportError, ValueError):
            return
        if "disk" in missing:
            raise CommandError(
                f"The {self.service} cannot go on: {missing['disk']}. Free some space, then the job is resumed.",
                Exit.JOB_FAILED,
            )

    def _patiently(self, call: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + RESTART_PATIENCE_SECONDS
        while True:
            try:
                return call()
            except ServiceUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def wait_ready(self, timeout_seconds: float, still_wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait until the service says that it is alive.

        Raises:
            CommandError: not within the time, or no longer wanted.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and still_wanted():
            try:
                if self._http.get("/healthz", timeout=2.0).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise CommandError(
            f"The {self.service} did not come up within {timeout_seconds:.0f} s; its log says why.", Exit.UNREACHABLE
        )


def cancel_jobs_when_terminated() -> None:
    """Let SIGTERM end the command through its job: an aborted build leaves no training behind."""

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)


def error_text(service: str, response: httpx.Response) -> str:
    """What a service says is wrong, in whichever form it says it."""
    try:
        body = response.json()
    except ValueError:
        return f"The {service} answered {response.status_code}: {response.text[:200]}"
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return str(body["error"].get("message"))
    try:
        return Problem.model_validate(body).detail
    except ValidationError:
        return f"The {service} answered {response.status_code}: {response.text[:200]}"
