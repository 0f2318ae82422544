"""What a source may use of the collector."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from jeeves_collector import __version__
from jeeves_collector.layout import CollectorLayout
from jeeves_collector.outgoing.credentials import Credentials
from jeeves_collector.outgoing.fetcher import Fetcher, FetchLimits
from jeeves_collector.outgoing.gate import HostGate, HostLimits
from jeeves_collector.settings import CollectorSettings
from jeeves_collector.state import CollectorState


class RemoteLimits(Protocol):
    """The part of a recipe that says how a host is to be treated."""

    @property
    def requests_per_second(self) -> float:
        """To each host."""
        ...

    @property
    def requests_per_day(self) -> int:
        """To each host; 0: no bound."""
        ...

    @property
    def allow_private(self) -> bool:
        """Whether hosts on private networks may be spoken to."""
        ...


@dataclass(frozen=True)
class Workplace:
    """What a source may use of the collector.

    Attributes:
        layout: of its files.
        settings: validated.
        state: remembers conversions.
        retrieved_at: stamp of what is read in this run, UTC.
        wait: sleeps some seconds; raises when the job is cancelled.
        report: told of the share of the source that is done, in [0, 1], and of the present item.
    """

    layout: CollectorLayout
    settings: CollectorSettings
    state: CollectorState
    retrieved_at: datetime
    wait: Callable[[float], None]
    report: Callable[[float, str], None]

    def credentials(self) -> Credentials:
        """Who we are at which origin.

        Raises:
            SettingsError: the file of credentials cannot be used.
        """
        return Credentials(self.settings.collector_credentials_file)

    def fetcher(self, source: RemoteLimits, *, obey_robots: bool) -> Fetcher:
        """The outgoing client of one source; to be closed.

        Args:
            source: of the recipe.
            obey_robots: for crawled sites.
        """
        settings = self.settings
        limits = HostLimits(
            source.requests_per_second, source.requests_per_day, settings.collector_connections_per_host
        )
        contact = f" (+{settings.collector_contact})" if settings.collector_contact else ""
        return Fetcher(
            HostGate(self.layout.hosts, limits, self.wait),
            user_agent=f"jeeves-collector/{__version__}{contact}",
            limits=FetchLimits(
                response_seconds=settings.collector_response_seconds,
                patience_seconds=settings.collector_patience_seconds,
                backoff_seconds=settings.collector_backoff_seconds,
            ),
            allow_private=source.allow_private,
            obey_robots=obey_robots,
            proxy=settings.collector_proxy,
        )
