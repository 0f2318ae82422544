"""Who may do what: API keys with scopes, and nobody else but this machine's own users while only they can connect."""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import SecretStr

from jeeves_gateway.fresh import FreshValues
from jeeves_gateway.record import GatewayRecord, KeyRow
from jeeves_shared.errors import Forbidden, Unauthorized
from jeeves_shared.settings import LOOPBACK_HOSTS

Scope = Literal["chat", "diagnose", "feedback", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
KEY_PREFIX = "jk-"

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        id: of the key, `anonymous` or `bootstrap`; goes into audit trails, never into metrics.
        scopes: what it may do.
        limit_key: what its requests are counted under; never empty.
    """

    id: str
    scopes: frozenset[str]
    limit_key: str


class Doorkeeper:
    """Recognizes callers.

    Args:
        record: has the keys.
        bootstrap_key: a key with every scope from the settings; None for none.
        anonymous_on_loopback: whether users of this machine need no key.
    """

    def __init__(self, record: GatewayRecord, bootstrap_key: SecretStr | None, anonymous_on_loopback: bool) -> None:
        self._record = record
        self._bootstrap_sha256 = _sha256(bootstrap_key.get_secret_value()) if bootstrap_key else ""
        self._anonymous_on_loopback = anonymous_on_loopback
        self._rows = FreshValues(self._read, time.monotonic)

    async def recognize(self, request: Request) -> Caller:
        """The caller of a request.

        Raises:
            Unauthorized: no key where one is needed, or one that is unknown or revoked.
        """
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        address = request.client.host if request.client else "unknown"
        if kind.lower() == "bearer" and given.strip():
            sha256 = _sha256(given.strip())
            if self._bootstrap_sha256 and hmac.compare_digest(sha256, self._bootstrap_sha256):
                return Caller("bootstrap", frozenset(SCOPES), "key:bootstrap")
            row = await self._rows.get(sha256)
            if row is not None:
                return Caller(row.id, frozenset(row.scopes), f"key:{row.id}")
            # OpenAI clients insist on sending some key: on loopback any text will do, as without one.
        if self._anonymous_on_loopback and _is_local(request, address):
            return Caller("anonymous", frozenset(SCOPES), f"address:{address}")
        raise Unauthorized(
            "This key is unknown or revoked: ask the operator for a new one."
            if given
            else "Send an API key: Authorization: Bearer <key>."
        )

    async def _read(self, sha256: str) -> KeyRow | None:
        return await asyncio.to_thread(self._record.find_key, sha256)

    async def create(self, name: str, scopes: tuple[Scope, ...], actor: str) -> tuple[KeyRow, str]:
        """Make a key.

        Returns:
            Its row, and the key itself, which is nowhere stored.
        """
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        row = await asyncio.to_thread(
            self._record.add_key, secrets.token_hex(8), _sha256(key), name, tuple(scopes), actor
        )
        return row, key

    async def revoke(self, key_id: str, actor: str) -> KeyRow:
        """Make a key useless at once.

        Raises:
            NotFound: no such key.
        """
        row = await asyncio.to_thread(self._record.revoke_key, key_id, actor)
        self._rows.forget()
        return row


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """A FastAPI dependency: the caller, who must have a scope."""

    async def caller(request: Request) -> Caller:
        doorkeeper: Doorkeeper = request.app.state.parts.doorkeeper
        found = await doorkeeper.recognize(request)
        if scope not in found.scopes:
            raise Forbidden(f"This key lacks the scope `{scope}`: ask the operator for one that has it.")
        return found

    return caller


def _sha256(key: str) -> str:
    # Keys are random and long: a plain hash is as good as a slow one.
    return hashlib.sha256(key.encode("utf-8")).hexdigest()


def _is_local(request: Request, address: str) -> bool:
    """Whether a person or program of this machine asks, and not a web page or a proxy in its name."""
    try:
        if not ipaddress.ip_address(address).is_loopback:
            return False
    except ValueError:
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    # A page of another site can make a browser send requests here, also under its own name (DNS rebinding).
    host = request.headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in LOOPBACK_HOSTS:
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host
