"""python-jenkins on our own outgoing client.

python-jenkins knows Jenkins' addresses, folders and crumbs. It brings requests with it, which has no limits of size,
keeps the crumb for ever and, without a timeout, waits for ever. Here its session gets a transport that is `Fetcher`:
every request of it obeys the limits, the pace and the network rules of all others.

Source: python-jenkins 1.8.3, `Jenkins._session`, `maybe_add_crumb`; requests, `BaseAdapter.send`.
"""

import io
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import jenkins
import requests
from requests.adapters import BaseAdapter

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.outgoing.credentials import Credential
from jeeves_collector.outgoing.errors import RemoteDenied, RemoteError, RemoteMissing, SourceAway
from jeeves_collector.outgoing.fetcher import Fetcher

T = TypeVar("T")
_STATUS_DENIED, _STATUS_MISSING = 403, 404
_HEADERS_NOT_SENT = frozenset({"user-agent", "accept-encoding", "connection"})
_EXTRA_HEADERS = "JENKINS_API_EXTRA_HEADERS"


class _FetcherAdapter(BaseAdapter):
    """Transport of a requests session: GET only, through `Fetcher`."""

    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def send(  # noqa: PLR0917 - the signature is requests'
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """One request; refusals of the server become the answers that python-jenkins expects."""
        response = requests.Response()
        response.request = request
        response.url = request.url or ""
        if request.method != "GET":
            raise requests.exceptions.InvalidSchema(f"{request.method} is not for a source that only reads")
        headers = {
            name: value if isinstance(value, str) else value.decode()
            for name, value in request.headers.items()
            if name.lower() not in _HEADERS_NOT_SENT
        }
        body, response.status_code, response.reason = b"", 200, "OK"
        try:
            fetched = self._fetcher.get(response.url, headers=headers)
            body = fetched.body
            response.headers.update(fetched.headers)
        except RemoteMissing:
            response.status_code, response.reason = _STATUS_MISSING, "Not Found"
        except RemoteDenied as exc:
            response.status_code, response.reason, body = _STATUS_DENIED, "Forbidden", exc.detail.encode()
        response.headers.pop("content-encoding", None)
        response.raw = io.BytesIO(body)
        response.encoding = "utf-8"
        return response

    def close(self) -> None:
        """The fetcher is not ours."""


class ControllerClient:
    """What the source asks of a controller.

    Args:
        address: of the controller.
        credential: user and API token; None: anonymous.
        fetcher: the outgoing client.
    """

    def __init__(self, address: str, credential: Credential | None, fetcher: Fetcher) -> None:
        self._address = address.rstrip("/")
        self._fetcher = fetcher
        self._authorization = {"Authorization": credential.basic()} if credential else {}
        # python-jenkins takes headers from the environment and logs them; a job needs none.
        os.environ.pop(_EXTRA_HEADERS, None)
        user, secret = (credential.user, credential.secret.get_secret_value()) if credential else (None, None)
        self._server = jenkins.Jenkins(self._address, username=user, password=secret, timeout=60)
        session = self._server._session
        session.trust_env = False
        session.adapters.clear()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _FetcherAdapter(fetcher))

    def version(self) -> str:
        """Of Jenkins.

        Raises:
            Dropped: not to be had.
        """
        # Not `get_version`: it sends no credentials when it is the first thing that is asked.
        request = requests.Request("GET", f"{self._address}/")
        response = self._ask(lambda: self._server.jenkins_request(request), "Overall/Read", "version")
        return str(response.headers.get("X-Jenkins", "unknown"))

    def plugins(self) -> list[tuple[str, str, str, bool]]:
        """Short name, long name, version, and whether it is active, by short name.

        Raises:
            Dropped: not allowed.
        """
        return self._ask(
            lambda: sorted(
                (str(one["shortName"]), str(one["longName"]), str(one["version"]), bool(one["active"]))
                for one in self._server.get_plugins(depth=1).values()
            ),
            "Overall/SystemRead",
            "plugins",
        )

    def jobs(self) -> list[Mapping[str, Any]]:
        """All jobs and folders that may be seen, each with `fullname`.

        Raises:
            Dropped: not allowed.
        """
        return self._ask(
            lambda: sorted(
                (job for job in self._server.get_all_jobs(folder_depth=None) if "url" in job),
                key=lambda job: str(job["fullname"]),
            ),
            "Overall/Read and Job/Read",
            "jobs",
        )

    def job(self, name: str) -> Mapping[str, Any]:
        """A job with its newest hundred builds.

        Raises:
            Dropped: gone, or not allowed.
        """
        return self._ask(lambda: _mapping(self._server.get_job_info(name)), "Job/Read", name)

    def configuration(self, name: str) -> str:
        """`config.xml` of a job.

        Raises:
            Dropped: gone, or not allowed.
        """
        return str(self._ask(lambda: self._server.get_job_config(name), "Job/ExtendedRead", name))

    def build(self, name: str, number: int) -> Mapping[str, Any]:
        """A build.

        Raises:
            Dropped: gone, or not allowed.
        """
        return self._ask(lambda: _mapping(self._server.get_build_info(name, number)), "Job/Read", f"{name} #{number}")

    def failed_tests(self, name: str, number: int) -> Mapping[str, Any] | None:
        """Test report of a build; None if it has none.

        Raises:
            Dropped: not allowed.
        """
        return self._ask(
            lambda: _mapping(self._server.get_build_test_report(name, number) or {}) or None,
            "Job/Read",
            f"{name} #{number} tests",
        )

    def log(self, name: str, number: int, bytes_max: int) -> tuple[bytes, int]:
        """Console log of a build that has ended: all of it, or its beginning and its end.

        Returns:
            The bytes, and how many were left out between beginning and end.

        Raises:
            Dropped: gone, or not allowed.
        """
        path = "".join(f"/job/{quote(part, safe='')}" for part in name.split("/"))
        url = f"{self._address}{path}/{number}/logText/progressiveText"
        head_bytes = bytes_max // 4
        what = f"{name} #{number} log"
        first = self._ask(lambda: self._log_part(url, 0, bytes_max), "Job/Read", what)
        told = first.headers.get("x-text-size", "")
        size = int(told) if told.isdecimal() else len(first.body)
        if not first.cut:
            return first.body, 0
        start = max(size - (bytes_max - head_bytes), head_bytes)
        last = self._ask(lambda: self._log_part(url, start, bytes_max), "Job/Read", what)
        return first.body[:head_bytes] + b"\n" + last.body, start - head_bytes

    def _log_part(self, url: str, start: int, bytes_max: int) -> Any:
        return self._fetcher.get(
            url, params={"start": start}, headers=self._authorization, bytes_max=bytes_max, cut=True
        )

    def _ask(self, call: Callable[[], T], permission: str, what: str) -> T:
        """Ask once, and once more with a new crumb: python-jenkins keeps the first one for ever.

        Raises:
            Dropped: gone, or not allowed; the detail names the permission.
        """
        for attempt in (1, 2):
            try:
                return call()
            except (jenkins.NotFoundException, RemoteMissing) as exc:
                raise Dropped(DropReason.GONE, f"{what}: not there") from exc
            except RemoteDenied as exc:
                raise _denied(what, permission) from exc
            except requests.exceptions.RequestException as exc:
                raise SourceAway(f"{self._address}: {exc}. Check the address of the controller.") from exc
            except (jenkins.JenkinsException, RemoteError) as exc:
                if attempt == 1 and self._server.crumb:
                    self._server.crumb = None
                    continue
                if "does not exist" in str(exc):
                    raise Dropped(DropReason.GONE, f"{what}: not there") from exc
                if "authentication" in str(exc):
                    raise _denied(what, permission) from exc
                raise Dropped(DropReason.ENTRY_INVALID, f"{what}: {str(exc)[:200]}") from exc
            except (AttributeError, KeyError, TypeError, ValueError) as exc:
                # Answers that python-jenkins did not expect: it reads them without looking.
                raise Dropped(DropReason.ENTRY_INVALID, f"{what}: {type(exc).__name__}: {exc}") from exc
        raise _denied(what, permission)


def _mapping(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise TypeError(f"an object was expected, this is {type(answer).__name__}")
    return answer


def _denied(what: str, permission: str) -> Dropped:
    return Dropped(DropReason.DENIED, f"{what}: needs the permission {permission}")
