"""The shortest way to the routes that are asked most: past the router, which tries route after route."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jeeves_gateway.openai_form import error_response
from jeeves_shared.errors import JeevesError


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A route that is also registered with the router, which documents it.

    Attributes:
        path: without parameters; also its label in the metrics.
        endpoint: turns every error that it expects into a response itself.
    """

    path: str
    endpoint: Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """Pure ASGI, inside of the middlewares that every request passes.

    Args:
        app: gets all other requests.
        routes: by method and path.
        inside_max: requests to them that may be inside at the same time: from the end of the body, for a slow sender
            must not take a place, to the end of the response.
        overloaded: why one more is refused; before anything of it is read, if it can be told then.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Mapping[tuple[str, str], DirectRoute],
        inside_max: int,
        overloaded: Callable[[], JeevesError],
    ) -> None:
        self._app = app
        self._routes = routes
        self._inside_max = inside_max
        self._overloaded = overloaded
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        if self._inside >= self._inside_max:
            await error_response(self._overloaded())(scope, receive, send)
            return
        inside = False

        async def counted_receive() -> Message:
            nonlocal inside
            message = await receive()
            if not inside and message["type"] == "http.request" and not message.get("more_body", False):
                if self._inside >= self._inside_max:
                    raise self._overloaded()
                self._inside += 1
                inside = True
            return message

        try:
            response = await route.endpoint(Request(scope, counted_receive, send))
            await response(scope, counted_receive, send)
        finally:
            if inside:
                self._inside -= 1
