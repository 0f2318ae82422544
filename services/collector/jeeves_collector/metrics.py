"""Metrics of the latest collection, read from the jobs table at each scrape: jobs run in processes of their own."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jeeves_collector.drops import DropReason
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.jobs.store import JobStore


class LatestCollectionMetrics(Collector):
    """Figures of the collection that finished last.

    Args:
        jobs: the tables.
        kind: of the jobs.
    """

    def __init__(self, jobs: JobStore, kind: str) -> None:
        self._jobs = jobs
        self._kind = kind

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        latest = self._latest()
        figures = {
            "documents": ("Documents in the latest collection.", latest.documents if latest else 0),
            "code_blocks": ("Code blocks in the latest collection.", latest.code_blocks if latest else 0),
            "pairs": ("Question and answer pairs in the latest collection.", latest.pairs if latest else 0),
        }
        for name, (text, value) in figures.items():
            yield GaugeMetricFamily(f"jeeves_collector_{name}", text, value=value)
        drops = GaugeMetricFamily(
            "jeeves_collector_dropped_items", "Items left out of the latest collection, by reason.", labels=["reason"]
        )
        for reason in DropReason:
            drops.add_metric([reason.value], latest.drops.get(reason.value, 0) if latest else 0)
        yield drops

    def _latest(self) -> CollectionManifest | None:
        finished = (job for job in self._jobs.latest(self._kind) if job.state == "succeeded" and job.result)
        newest = next(finished, None)
        return CollectionManifest.model_validate(newest.result) if newest else None
