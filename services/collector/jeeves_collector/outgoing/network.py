"""Names to addresses: a connection is made to the very address that was judged, so no second look-up can change it.

Source: RFC 6890 (special-purpose addresses) through `ipaddress.is_global`.
"""

import ipaddress
import socket
from collections.abc import Iterable

import httpcore
import httpx

from jeeves_collector.outgoing.errors import AddressRefused


def refuse_private(host: str, addresses: Iterable[str]) -> None:
    """Refuse a host if any of its addresses is not a public one.

    Raises:
        AddressRefused: loopback, private, link-local, multicast or reserved.
    """
    for address in addresses:
        # `fe80::1%eth0` and ::ffff:10.0.0.1 are what they stand for.
        ip = ipaddress.ip_address(address.partition("%")[0])
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        if not (mapped or ip).is_global or (mapped or ip).is_multicast:
            raise AddressRefused(
                f"{host} is at {address}, which is no public address: set `allow_private: true` in the source if "
                "it is meant to be there."
            )


class JudgedBackend(httpcore.SyncBackend):
    """Connects to public addresses only.

    Args:
        allow_private: do not judge.
    """

    def __init__(self, allow_private: bool) -> None:
        super().__init__()
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """As httpcore's, to an address that was judged."""
        if self._allow_private:
            return super().connect_tcp(host, port, timeout, local_address, socket_options)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise httpcore.ConnectError(f"{host} has no address: {exc}") from exc
        addresses = [str(entry[4][0]) for entry in found]
        refuse_private(host, addresses)
        return super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)


class JudgedTransport(httpx.HTTPTransport):
    """httpx's transport on a judged network.

    Args:
        allow_private: let private addresses be.
        proxy: of the organisation; it resolves names itself, so the names are judged by its rules. Empty: none.
    """

    def __init__(self, allow_private: bool, proxy: str = "") -> None:
        super().__init__(proxy=proxy or None, trust_env=False)
        if not proxy:
            # httpx has no parameter for the network backend; its pool is httpcore's, made here with the same settings.
            self._pool = httpcore.ConnectionPool(
                ssl_context=httpx.create_ssl_context(trust_env=False),
                max_connections=4,
                max_keepalive_connections=2,
                keepalive_expiry=5.0,
                network_backend=JudgedBackend(allow_private),
            )
