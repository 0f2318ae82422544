"""What can go wrong on the way out.

SourceUnusable
├── SourceAway           no connection, or errors of the server, until patience ended
├── AddressRefused       a private address, a foreign scheme, robots.txt, too many redirects
├── QuotaExhausted       the day's requests are used up; what was read is kept
└── RemoteError          one answer that cannot be used; a source may drop the item and go on
    ├── RemoteMissing    404, 410
    ├── RemoteDenied     401, 403
    ├── ResponseTooLarge
    └── ResponseMalformed  not what the protocol says, several times in a row
"""

from typing import ClassVar

from jeeves_shared.errors import SourceUnusable


class SourceAway(SourceUnusable):
    """No connection, or errors of the server, until patience ended."""

    code: ClassVar[str] = "source-away"
    title: ClassVar[str] = "Source away"
    status: ClassVar[int] = 503


class AddressRefused(SourceUnusable):
    """An address that this source may not go to."""

    code: ClassVar[str] = "address-refused"
    title: ClassVar[str] = "Address refused"
    status: ClassVar[int] = 422


class QuotaExhausted(SourceUnusable):
    """The requests of this day are used up; what was read is kept, and the next collection goes on there."""

    code: ClassVar[str] = "quota-exhausted"
    title: ClassVar[str] = "Daily quota used up"
    status: ClassVar[int] = 429


class RemoteError(SourceUnusable):
    """One answer that cannot be used."""

    code: ClassVar[str] = "remote-error"
    title: ClassVar[str] = "Answer refused"
    status: ClassVar[int] = 502


class RemoteMissing(RemoteError):
    """Not there, or not there any more."""


class RemoteDenied(RemoteError):
    """Not for us."""


class ResponseTooLarge(RemoteError):
    """More bytes than the source may send."""


class ResponseMalformed(RemoteError):
    """Not what the protocol says."""
