"""Settings of the collector."""

import os
from datetime import datetime
from pathlib import Path

from pydantic import Field

from jeeves_shared.settings import ServiceSettings


class CollectorSettings(ServiceSettings):
    """The common settings, and the limits of the collector's own work. Jobs read them from the environment again."""

    collector_pandoc_processes: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1, le=64)
    """Processes that convert at the same time: pandoc's, which grow to some 200 MB each, or those of a dump."""

    collector_conversion_timeout_seconds: float = Field(default=20.0, gt=0)
    """Longest conversion of one section; a section that takes longer is kept unconverted."""

    collector_git_timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest single git command, a first fetch included."""

    collector_credentials_file: Path | None = None
    """Who the collector is at which origin: lines of `https://user:secret@host`, as git's credential store has them."""

    collector_contact: str = ""
    """Address or mail of a person in charge; part of the User-Agent, so that the owner of a site can write to it."""

    collector_proxy: str = ""
    """Proxy for all sources that speak HTTP. It resolves names itself, so private addresses are its business then."""

    collector_connections_per_host: int = Field(default=1, ge=1, le=16)
    """Requests to one host at the same time, of all jobs."""

    collector_response_seconds: float = Field(default=60.0, gt=0)
    """Longest time for one whole response."""

    collector_patience_seconds: float = Field(default=900.0, gt=0)
    """Longest time for one request with all its retries and the pauses that the server asks for."""

    collector_backoff_seconds: float = Field(default=1.0, gt=0, le=60)
    """First pause after a failed request; it doubles, with jitter."""

    collector_retrieved_at: datetime | None = None
    """Stamp of everything that is retrieved, for collections that must be equal byte for byte. Unset: the clock."""
