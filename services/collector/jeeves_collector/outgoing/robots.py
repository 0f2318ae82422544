"""What a site asks crawlers to leave alone.

Source: RFC 9309: a missing robots.txt allows everything (2.3.1.3), one that the server fails to give forbids everything
(2.3.1.4).
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from protego import Protego

from jeeves_collector.outgoing.errors import RemoteError

Read = Callable[[str], bytes]
"""The body of an address; raises `RemoteError` for an answer that is none."""
_BYTES_MAX = 512 * 1024


class Robots:
    """The rules of all sites that a source comes to.

    Args:
        agent: our name in the rules.
        read: fetches a robots.txt.
    """

    def __init__(self, agent: str, read: Read) -> None:
        self._agent = agent
        self._read = read
        self._rules: dict[str, Protego] = {}

    def allows(self, url: str) -> bool:
        """Whether an address may be fetched."""
        return bool(self._of(url).can_fetch(url, self._agent))

    def delay_seconds(self, url: str) -> float:
        """Pause between requests that the site asks for; 0 if it asks for none."""
        return float(self._of(url).crawl_delay(self._agent) or 0.0)

    def _of(self, url: str) -> Protego:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._rules:
            try:
                text = self._read(f"{site}/robots.txt")[:_BYTES_MAX].decode("utf-8", errors="replace")
            except RemoteError:
                text = ""
            self._rules[site] = Protego.parse(text)
        return self._rules[site]
