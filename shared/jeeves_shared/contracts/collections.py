"""What happened while a collection was made. Written by the collector, read by `jeeves collect --explain`."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract


class DropSamples(Contract):
    """Items that were left out for one reason."""

    reason: str
    count: int = Field(ge=0)
    samples: tuple[str, ...] = Field(description="The first ones: item, and what was wrong with it.")


class CollectionDiff(Contract):
    """Against the collection that the same recipe gave the last time. Documents by `source_path`, pairs by id."""

    previous_id: str = Field(default="", description="Empty for a first collection; then everything is added.")
    added: int = Field(ge=0)
    changed: int = Field(ge=0)
    removed: int = Field(ge=0)
    names: dict[Literal["added", "changed", "removed"], tuple[str, ...]] = Field(description="The first ones of each.")


class SourceFigures(Contract):
    """What one source cost and gave."""

    name: str
    type: str
    documents: int = Field(ge=0)
    pairs: int = Field(ge=0)
    requests: int = Field(ge=0, description="HTTP requests of this job's process; 0 for files.")
    fetched_bytes: int = Field(ge=0)
    fetched_items: int = Field(ge=0, description="Read in this run.")
    unchanged_items: int = Field(ge=0, description="Known from an earlier run, and not read again.")
    waited_seconds: float = Field(ge=0, description="For rate limits, `Retry-After` and backoff.")


class CollectionReport(Contract):
    """`GET /v1/collections/{job_id}/report`. Not part of the collection: it says how it came about."""

    schema_version: Literal[1] = 1
    collection_id: str
    diff: CollectionDiff
    sources: tuple[SourceFigures, ...]
    drops: tuple[DropSamples, ...]
    findings: dict[str, dict[str, int]] = Field(
        description="What was left open in documents that were kept, by kind and name: unresolved attributes, "
        "references that lead nowhere, refused includes, sections that stayed AsciiDoc."
    )
