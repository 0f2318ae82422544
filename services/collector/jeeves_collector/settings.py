"""Settings of the collector."""

import os

from pydantic import Field

from jeeves_shared.settings import ServiceSettings


class CollectorSettings(ServiceSettings):
    """The common settings, and the limits of the collector's own work. Jobs read them from the environment again."""

    collector_pandoc_processes: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1, le=64)
    """pandoc processes that convert at the same time; each grows to some 200 MB on the handbook of Jenkins."""

    collector_conversion_timeout_seconds: float = Field(default=20.0, gt=0)
    """Longest conversion of one section; a section that takes longer is kept unconverted."""

    collector_git_timeout_seconds: float = Field(default=600.0, gt=0)
    """Longest single git command, a first fetch included."""
