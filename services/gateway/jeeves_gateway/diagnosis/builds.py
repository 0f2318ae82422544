"""Console logs by the address of a build: of one configured controller, and of no other server."""

import base64
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

import aiohttp
from pydantic import SecretStr

from jeeves_gateway.errors import BadChatRequest, UpstreamFailed
from jeeves_shared.errors import NotFound

_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5, sock_read=20)
_BLOCK_BYTES = 64 * 1024


class BuildLogs:
    """Reads console logs from Jenkins.

    Args:
        controller_url: of the only controller that is asked; empty for none.
        user: for basic authentication; empty for none.
        token: the user's API token.
    """

    def __init__(self, controller_url: str, user: str, token: SecretStr | None) -> None:
        self._base = controller_url.rstrip("/") + "/" if controller_url else ""
        self._headers: dict[str, str] = {}
        if user and token:
            pair = base64.b64encode(f"{user}:{token.get_secret_value()}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def blocks(self, build_url: str) -> AsyncIterator[bytes]:
        """The plain console log of a build.

        Args:
            build_url: such as `https://ci.example.org/job/app/7/`.

        Raises:
            BadChatRequest: no controller is configured, or the address is not one of its builds.
            NotFound: no such build, or the user may not see it.
            UpstreamFailed: the controller does not answer.
        """
        url = self._checked(build_url)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, headers=self._headers, trust_env=False)
        try:
            # A redirect could lead anywhere, with the token in the request.
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (401, 403, 404):
                    raise NotFound("The controller shows no such build to this user: check address and permissions.")
                if response.status != 200:
                    raise UpstreamFailed(f"The controller answered with status {response.status}.")
                async for block in response.content.iter_chunked(_BLOCK_BYTES):
                    yield block
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise UpstreamFailed(f"The controller broke off: {type(exc).__name__}.") from exc

    def _checked(self, build_url: str) -> str:
        if not self._base:
            raise BadChatRequest("No controller is configured (JEEVES_GATEWAY_JENKINS_URL): send the log.", "build_url")
        parts, base = urlsplit(build_url), urlsplit(self._base)
        path = unquote(parts.path)
        inside = (parts.scheme, parts.netloc) == (base.scheme, base.netloc) and path.startswith(base.path)
        segments = path.split("/")
        if not inside or ".." in segments or "job" not in segments or "\\" in path:
            raise BadChatRequest(f"Not a build of {self._base}: give the address of one.", "build_url")
        build = parts.path.removesuffix("/").removesuffix("/console").removesuffix("/consoleFull")
        return f"{base.scheme}://{base.netloc}{build}/consoleText"
