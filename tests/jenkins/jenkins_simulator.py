"""A Jenkins controller over real HTTP, as far as triggers and builds go: for python-jenkins and for what reads builds.

Crumbs bound to a session, users with permissions, folders, parameters in the body, queue items that wait, leave, get
cancelled or vanish, builds, console texts whole and progressive, artifacts, test reports, and faults on order.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Build:
    number: int
    parameters: dict[str, str]
    result: str | None = None
    log: str = "Started\n"
    artifacts: dict[str, bytes] = field(default_factory=dict)
    report: dict[str, Any] | None = None


@dataclass
class Item:
    id: int
    job: str
    parameters: dict[str, str]
    looks: int
    cancelled: bool = False
    left: bool = False
    number: int = 0


class Fault(Exception):
    """Ends a request with a status."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class JenkinsSimulator:
    """One controller; a context manager.

    Attributes:
        queue_looks: how often an item is seen waiting before its build starts.
        build_looks: how often a build is seen running before it ends.
        remember_items: whether items that left the queue can still be read.
        faults: for the next requests: `slow`, `500`, `garbage`, `hang-up`, `lost-answer`; one each.
        posts: address and body of every POST.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, list[Build]] = {}
        self.items: list[Item] = []
        self.users: dict[str, tuple[str, set[str]]] = {"ann": ("token-ann", {"read", "build"})}
        self.queue_looks = 1
        self.build_looks = 1
        self.result = "SUCCESS"
        self.remember_items = True
        self.vanish = False
        self.slow_seconds = 3.0
        self.faults: list[str] = []
        self.posts: list[tuple[str, str]] = []
        self.crumbs_given = 0
        self.on_build: Callable[[Build], None] = lambda build: None
        self._sessions: dict[str, str] = {}
        self._looks: dict[tuple[str, int], int] = {}
        self._lock = threading.RLock()
        simulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                simulator._serve(self)

            def do_POST(self) -> None:
                simulator._serve(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def new_session(self) -> None:
        """A restart, or a session that ran out: earlier crumbs are worth nothing."""
        self._sessions.clear()

    # --- requests ---

    def _serve(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0)).decode()
        with self._lock:
            fault = self.faults.pop(0) if self.faults else ""
            try:
                status, headers, content = self._answer(http, body, fault)
            except Fault as exc:
                status, headers, content = exc.status, {}, exc.text.encode()
        if fault == "slow":
            time.sleep(self.slow_seconds)
        if fault in ("hang-up", "lost-answer"):
            http.close_connection = True
            return
        try:
            http.send_response(status)
            for name, value in {"X-Jenkins": "2.541.3", **headers, "Content-Length": str(len(content))}.items():
                http.send_header(name, value)
            http.end_headers()
            http.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client's patience was at its end

    def _answer(self, http: BaseHTTPRequestHandler, body: str, fault: str) -> tuple[int, dict[str, str], bytes]:
        if fault == "500":
            raise Fault(500, "Oops")
        if fault == "hang-up":
            raise Fault(500)
        if fault == "garbage":
            return 200, {}, b"<html>starting"
        parts = urlsplit(http.path)
        query = dict(parse_qsl(parts.query))
        permissions = self._permissions(http)
        if parts.path == "/crumbIssuer/api/json":
            return self._crumb()
        if http.command == "POST":
            self._check_crumb(http)
            self.posts.append((http.path, body))
            return self._post(parts.path, dict(parse_qsl(body, keep_blank_values=True)), permissions)
        return self._get(parts.path, query, permissions)

    def _permissions(self, http: BaseHTTPRequestHandler) -> set[str]:
        given = http.headers.get("Authorization", "")
        if not given:
            return set()
        name, _, token = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        if name not in self.users or self.users[name][0] != token:
            raise Fault(401, "Invalid password/token")
        return self.users[name][1]

    def _crumb(self) -> tuple[int, dict[str, str], bytes]:
        self.crumbs_given += 1
        session, crumb = f"session-{self.crumbs_given}", f"crumb-{self.crumbs_given}"
        self._sessions[session] = crumb
        text = json.dumps({"crumb": crumb, "crumbRequestField": "Jenkins-Crumb"})
        return 200, {"Set-Cookie": f"JSESSIONID={session}; Path=/"}, text.encode()

    def _check_crumb(self, http: BaseHTTPRequestHandler) -> None:
        session = re.search(r"JSESSIONID=([\w-]+)", http.headers.get("Cookie", ""))
        if session is None or self._sessions.get(session[1]) != http.headers.get("Jenkins-Crumb", "none"):
            raise Fault(403, "No valid crumb was included in the request")

    # --- state ---

    def _job(self, path: str) -> tuple[str, str]:
        """Name of the job in a path, and what follows it."""
        match = re.match(r"((?:/job/[^/]+)+)(/.*)?$", path)
        name = "/".join(match[1].split("/job/")[1:]) if match else ""
        if match is None or name not in self.jobs:
            raise Fault(404)
        return name, (match[2] or "/").lstrip("/")

    def _post(self, path: str, form: dict[str, str], permissions: set[str]) -> tuple[int, dict[str, str], bytes]:
        if match := re.match(r"/queue/cancelItem", path):
            self.cancel(int(form["id"]))
            return 204, {}, b""
        name, rest = self._job(path) if "read" in permissions else self._hidden()
        if match := re.match(r"(\d+)/stop$", rest):
            self.jobs[name][int(match[1]) - 1].result = "ABORTED"
            return 200, {}, b""
        if rest != "buildWithParameters":
            raise Fault(404)
        if "build" not in permissions:
            raise Fault(403, "ann is missing the Job/Build permission")
        item = Item(len(self.items) + 1, name, form, self.queue_looks)
        self.items.append(item)
        return 201, {"Location": f"{self.url}/queue/item/{item.id}/"}, b""

    def _hidden(self) -> tuple[str, str]:
        raise Fault(404)

    def cancel(self, item_id: int) -> None:
        item = self.items[item_id - 1]
        item.cancelled = item.left = True

    def _advance(self) -> None:
        """Time goes on with each look at a job or the queue."""
        for item in self.items:
            if item.left:
                continue
            item.looks -= 1
            if item.looks < 0:
                item.left = True
                if not self.vanish:
                    self._start(item)
        for name, builds in self.jobs.items():
            for build in builds:
                key = (name, build.number)
                self._looks[key] = self._looks.get(key, self.build_looks + 1) - 1
                if build.result is None and self._looks[key] < 0:
                    build.result = self.result
                    build.log += f"Finished: {build.result}\n"

    def _start(self, item: Item) -> None:
        builds = self.jobs[item.job]
        build = Build(len(builds) + 1, item.parameters)
        item.number = build.number
        builds.append(build)
        self.on_build(build)

    def _get(self, path: str, query: dict[str, str], permissions: set[str]) -> tuple[int, dict[str, str], bytes]:
        if "read" not in permissions:
            raise Fault(403, "anonymous is missing the Overall/Read permission")
        if path == "/queue/api/json":
            self._advance()
            waiting = [self._item_json(item) for item in self.items if not item.left]
            return self._json({"items": waiting})
        if match := re.match(r"/queue/item/(\d+)/api/json$", path):
            item = self.items[int(match[1]) - 1] if int(match[1]) <= len(self.items) else None
            if item is None or (item.left and not self.remember_items):
                raise Fault(404)
            return self._json(self._item_json(item))
        name, rest = self._job(path)
        builds = self.jobs[name]
        if rest == "api/json":
            self._advance()
            return self._json({"name": name, "builds": [self._build_json(name, build) for build in reversed(builds)]})
        match = re.match(r"(\d+)/(.*)$", rest)
        if match is None or int(match[1]) > len(builds):
            raise Fault(404)
        return self._of_build(name, builds[int(match[1]) - 1], match[2], query)

    def _of_build(self, name: str, build: Build, rest: str, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if rest == "api/json":
            return self._json(self._build_json(name, build))
        if rest == "consoleText":
            return 200, {"Content-Type": "text/plain"}, build.log.encode()
        if rest == "logText/progressiveText":
            text = build.log.encode()
            more = {"X-More-Data": "true"} if build.result is None else {}
            return 200, {"X-Text-Size": str(len(text)), **more}, text[int(query.get("start", 0)) :]
        if rest == "testReport/api/json" and build.report is not None:
            return self._json(build.report)
        if (
            rest.startswith("artifact/")
            and (content := build.artifacts.get(rest.removeprefix("artifact/"))) is not None
        ):
            return 200, {}, content
        raise Fault(404)

    def _item_json(self, item: Item) -> dict[str, Any]:
        executable = {"executable": {"number": item.number}} if item.number else {}
        why = None if item.left else "Waiting for next available executor"
        return {"id": item.id, "why": why, "cancelled": item.cancelled, **_parameters(item.parameters), **executable}

    def _build_json(self, name: str, build: Build) -> dict[str, Any]:
        return {
            "number": build.number,
            "url": f"{self.url}/job/{name.replace('/', '/job/')}/{build.number}/",
            "building": build.result is None,
            "result": build.result,
            **_parameters(build.parameters),
        }

    def _json(self, content: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _parameters(parameters: dict[str, str]) -> dict[str, Any]:
    values = [{"name": name, "value": value} for name, value in parameters.items()]
    return {"actions": [{}, {"_class": "hudson.model.ParametersAction", "parameters": values}]}
