"""`python -m jeeves_curator.cluster`: the steps on documents through datatrove, in many processes or on many machines.

Each task reviews its share of a collection's shards and puts what comes out into the artifact store; the job
`curations` (`jeeves curate`) finds it there, does what needs all documents, and makes the manifest that it would have
made alone. On Slurm or Ray the same block goes to another executor of datatrove: docs/curator.md, "On a cluster".
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from jeeves_curator.documents.reviewed import reviewed_shard
from jeeves_curator.errors import ClusterUnusable
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.curation import DocumentRules
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.contracts.recipes import CurateRecipe
from jeeves_shared.errors import JeevesError
from jeeves_shared.settings import ServiceSettings, load_settings

M = TypeVar("M", bound=BaseModel)


class ReviewShards:
    """A block of a datatrove pipeline, which takes any callable: the first and only one.

    Args:
        store_url: artifact store that every task reaches.
        rules: of the recipe.
        collection: whose shards are reviewed.
    """

    def __init__(self, store_url: str, rules: DocumentRules, collection: CollectionManifest) -> None:
        self._store_url = store_url
        self._rules = rules
        self._shards = collection.shards

    def __call__(self, data: Iterable[Any] | None = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Review every `world_size`-th shard, from `rank` on; those that were reviewed before cost nothing.

        Args:
            data: of the block before, passed on.
            rank: of this task, from 0.
            world_size: number of tasks.

        Raises:
            NotFound, ArtifactCorrupt: a shard is missing or damaged.
            StorageFull: no space left.
        """
        store = ArtifactStore(self._store_url)
        for shard in self._shards[rank::world_size]:
            reviewed_shard(store, self._rules, shard)
        yield from data or ()


def main(arguments: list[str]) -> int:
    """Review a collection in several processes of this machine.

    Args:
        arguments: of the command line.

    Returns:
        0; 2 if a file is not what it should be or datatrove is missing.
    """
    parser = argparse.ArgumentParser(prog="python -m jeeves_curator.cluster", description="Review shards by datatrove.")
    parser.add_argument("--collection", type=Path, required=True, help="manifest of the collection")
    parser.add_argument("--recipe", type=Path, required=True, help="the recipe that `jeeves curate` will be given")
    parser.add_argument("--store", default="", help="address of the artifact store; that of the settings by default")
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time")
    parser.add_argument("--logs", type=Path, required=True, help="folder for datatrove's logs and completion markers")
    options = parser.parse_args(arguments)
    try:
        collection = _read(CollectionManifest, options.collection)
        rules = _read(CurateRecipe, options.recipe).documents
        store = options.store or load_settings(ServiceSettings).store()
        block = ReviewShards(store, rules, collection)
        tasks = max(1, len(collection.shards))
        pipeline = _local_executor()(
            pipeline=[block], tasks=tasks, workers=options.workers, logging_dir=str(options.logs)
        )
        pipeline.run()
    except JeevesError as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    return 0


def _local_executor() -> Any:
    try:
        from datatrove.executor import LocalPipelineExecutor  # noqa: PLC0415 - an extra that only a cluster needs
    except ImportError as exc:
        raise ClusterUnusable("datatrove is not installed: pip install 'jeeves-curator[cluster]'.") from exc
    return LocalPipelineExecutor


def _read(model: type[M], path: Path) -> M:
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ClusterUnusable(f"{path} cannot be read: {exc.strerror}.") from exc
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as exc:
        raise ClusterUnusable(f"{path} is no {model.__name__}: {exc}") from exc


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
