"""The frame of every HTTP service: health, readiness, metrics, request ids, typed errors, the service token.

A service gives its name, its routers, its readiness checks and its lifespan to `create_service`; `serve` runs it.
"""

import asyncio
import hmac
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jeeves_shared import __version__
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.errors import JeevesError, SettingsError, Unauthorized
from jeeves_shared.logging import configure_logging, request_id
from jeeves_shared.settings import ServiceSettings, load_settings

ReadinessCheck = Callable[[], Awaitable[str | None]]
"""Returns None when the dependency is there, else what is missing."""

REQUEST_ID_HEADER = "x-request-id"
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

S = TypeVar("S", bound=ServiceSettings)

logger = logging.getLogger(__name__)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as `application/problem+json`."""
    return JSONResponse(
        problem.model_dump(mode="json"), problem.status, headers=headers, media_type="application/problem+json"
    )


def create_service(
    name: str,
    routers: Sequence[APIRouter],
    *,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    readiness: Mapping[str, ReadinessCheck],
    registry: CollectorRegistry,
    token: str | None = None,
) -> FastAPI:
    """Build the application of a service.

    Args:
        name: `collector`, `curator`, `trainer` or `gateway`; part of its metric names.
        routers: its resources.
        lifespan: starts and stops what it owns.
        readiness: by name of the dependency.
        registry: prometheus registry that `/metrics` shows.
        token: bearer token that all but health and metrics require; None for no check.
    """
    app = FastAPI(title=f"Jeeves {name}", version=__version__, lifespan=lifespan)
    for router in routers:
        app.include_router(router)
    _add_probes(app, readiness, registry)
    add_error_handlers(app)
    # The last added is the outermost.
    if token is not None:
        app.add_middleware(TokenMiddleware, token=token)
    app.add_middleware(RequestMiddleware, service=name, registry=registry)
    return app


def _add_probes(app: FastAPI, readiness: Mapping[str, ReadinessCheck], registry: CollectorRegistry) -> None:
    @app.get("/healthz", tags=["probes"], summary="The process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", tags=["probes"], summary="Every dependency is there, else 503 with the missing ones")
    async def readyz() -> JSONResponse:
        missing = {name: reason for name, check in readiness.items() if (reason := await check()) is not None}
        return JSONResponse(
            {"status": "not ready" if missing else "ready", "missing": missing}, 503 if missing else 200
        )

    @app.get("/metrics", tags=["probes"], summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def add_error_handlers(app: FastAPI) -> None:
    """Turn every error into `application/problem+json`."""

    @app.exception_handler(JeevesError)
    async def typed(request: Request, exc: JeevesError) -> JSONResponse:
        headers = {"Retry-After": "5"} if exc.status in (429, 503) else None
        return problem_response(exc.problem(request_id.get()), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> JSONResponse:
        # The input itself stays out of the answer: it may hold a secret.
        mistakes = tuple(f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in exc.errors())
        return problem_response(
            Problem(
                type="urn:jeeves:problem:invalid-request",
                title="Invalid request",
                status=422,
                detail=f"{len(mistakes)} mistake(s) in the request: {'; '.join(mistakes)}",
                instance=request_id.get(),
                errors=mistakes,
            )
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, exc: HTTPException) -> JSONResponse:
        code = {404: "not-found", 405: "method-not-allowed"}.get(exc.status_code, "http")
        return problem_response(
            Problem(
                type=f"urn:jeeves:problem:{code}",
                title=str(exc.detail),
                status=exc.status_code,
                detail=f"{request.method} {request.url.path}: {exc.detail}. The API is described at /docs.",
                instance=request_id.get(),
            ),
            exc.headers,
        )


class RequestMiddleware:
    """Request id, one log line, the request metrics, and the answer to unexpected errors.

    Pure ASGI, so that disconnects reach the handler. Unexpected errors end here and not in an exception handler of the
    application: those run outside of every middleware, where the request id is gone.
    """

    def __init__(self, app: ASGIApp, service: str, registry: CollectorRegistry) -> None:
        self._app = app
        self._count = Counter(
            f"jeeves_{service}_requests",
            "HTTP requests by route template, method and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            f"jeeves_{service}_request_seconds",
            "Time to the end of the response, by route template.",
            ("route",),
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = dict(scope["headers"]).get(REQUEST_ID_HEADER.encode(), b"").decode("latin-1")
        current = offered if _REQUEST_ID.fullmatch(offered) else secrets.token_hex(16)
        reset = request_id.set(current)
        started = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((REQUEST_ID_HEADER.encode(), current.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("unexpected error")
            if status is not None:
                # Half of the answer is out: the server breaks the connection off, so that the client sees it.
                raise
            await problem_response(_internal_error())(scope, receive, send_with_id)
        finally:
            self._note(scope, status or 500, time.perf_counter() - started)
            request_id.reset(reset)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # Clients may invent methods; labels stay few.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._count.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if route not in OPEN_PATHS:
            logger.info(
                "request", extra={"route": route, "method": method, "status": status, "seconds": round(seconds, 4)}
            )


def _internal_error() -> Problem:
    return Problem(
        type="urn:jeeves:problem:internal",
        title="Internal error",
        status=500,
        detail="An unexpected error; the log of the service has it under this request id.",
        instance=request_id.get(),
    )


class TokenMiddleware:
    """Asks for the service token on everything but health and metrics."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = Unauthorized("Send the service token: Authorization: Bearer <JEEVES_TOKEN>.")
                response = problem_response(refusal.problem(request_id.get()), {"WWW-Authenticate": "Bearer"})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def make_data_dir(path: Path) -> None:
    """Make the folder of this installation, if it is missing.

    Raises:
        SettingsError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError(f"JEEVES_DATA_DIR: {path} cannot be made: {exc.strerror}. Choose another folder.") from exc
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError(f"JEEVES_DATA_DIR: {path} cannot be written. Change its owner, or choose another folder.")


def run_service(
    name: str, settings_type: type[S], build: Callable[[S], FastAPI], protocol: type[asyncio.Protocol] | None = None
) -> None:
    """The `main` of a service: settings from their places, the application, and serving until told to stop.

    What stands in the way of a start (wrong settings, a data folder that cannot be written, a database that does not
    answer) becomes one message on standard error and exit code 1.

    Args:
        name: of the service, for messages and the log.
        settings_type: its settings class.
        build: its `create_app`.
        protocol: of its connections; None takes uvicorn's.
    """
    try:
        settings = load_settings(settings_type)
        app = build(settings)
    except JeevesError as exc:
        sys.exit(f"jeeves {name}: {exc.detail}")
    serve(app, name, settings, protocol)


def serve(app: FastAPI, name: str, settings: ServiceSettings, protocol: type[asyncio.Protocol] | None = None) -> None:
    """Run a service until SIGTERM or SIGINT.

    Args:
        app: from `create_service`.
        name: of the service, for the log.
        settings: address, port, log level and drain time.
        protocol: of its connections; None takes uvicorn's.
    """
    configure_logging(name, settings.log_level)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol or "auto",
        log_config=None,
        # One line a request is written by `RequestMiddleware`, with the request id.
        access_log=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
