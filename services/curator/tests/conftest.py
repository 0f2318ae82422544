"""A small real collection in a real store, and jobs run in this process."""

import importlib.util
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jeeves_curator import datasets, indexes
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import canonical_json, content_hash, manifest_id
from jeeves_shared.contracts.documents import Document, Pair, Provenance
from jeeves_shared.contracts.manifests import CollectionManifest, DatasetManifest, IndexManifest
from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_shared.contracts.recipes import CurateRecipe
from jeeves_shared.contracts.requests import DatasetRequest, IndexRequest
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext

FIRST = ("quick", "stable", "remote", "secret", "nightly", "mobile", "archive", "verbose")
SECOND = (
    "builds",
    "reports",
    "uploads",
    "tokens",
    "mirrors",
    "retries",
    "consoles",
    "labels",
    "queues",
    "caches",
    "tags",
)
WORDS = tuple(f"{first}{second}" for first in FIRST for second in (*SECOND, "logs"))
TOPICS = ("agents", "backup", "credentials", "libraries", "matrix", "plugins", "security", "triggers")


def document(path: str, title: str, text: str, kind: str = "how-to") -> Document:
    return Document(
        source_path=path,
        title=title,
        kind=kind,
        text=text,
        provenance=Provenance(
            url=f"https://example.org/{path}",
            retrieved_at=datetime(2026, 1, 1, tzinfo=UTC),
            licence="Apache-2.0",
            author="",
            sha256=content_hash(text),
        ),
    )


def pair(number: str, question: str, answer: str, path: str = "src/agents/page-1.md", **fields: Any) -> Pair:
    return Pair(
        id=number, kind=fields.pop("kind", "how-to"), question=question, answer=answer, source_path=path, **fields
    )


def refusal(number: str, question: str) -> Pair:
    return Pair(id=number, kind="refusal", question=question, answer=REFUSAL, source_path="", must_not=("yes",))


def library() -> tuple[list[Document], list[Pair]]:
    """Two pages on each topic, each with two sections, and a pair on each section; and some refusals."""
    documents, pairs = [], []
    words = iter(WORDS)
    for topic in TOPICS:
        for page in (1, 2):
            path = f"src/{topic}/page-{page}.md"
            facts = {f"{topic}Option{page}{letter}": " ".join(next(words) for _ in range(3)) for letter in "AB"}
            text = f"# The {topic} of page {page}\n\nAn introduction to {topic}, number {page}, for administrators.\n"
            for fact, purpose in facts.items():
                text += (
                    f"\n## Configure {purpose}\n\nSet `{fact}` in the {topic} menu for {purpose}, then restart.\n\n"
                    f"```groovy\n{topic} {{\n    {fact} = true\n\n    other = false\n}}\n```\n"
                )
                pairs.append(
                    pair(
                        f"p-{fact}",
                        f"Which option is for {purpose}?",
                        f"For {purpose} set `{fact}` in the {topic} menu.",
                        path,
                    )
                )
            documents.append(document(path, f"The {topic} of page {page}", text))
    refusals = [
        refusal(f"r-{number}", question)
        for number, question in enumerate(
            (
                "Which wine goes with salmon?",
                "Who won the cup?",
                "What is the weather in Rome?",
                "How old is the moon?",
                "Does Jenkins have a teleport step?",
            )
        )
    ]
    return documents, pairs + refusals


class Bench:
    """A store, and jobs that run in this process in their real context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ArtifactStore(str(folder / "store"))
        self.jobs = JobStore(open_database(f"sqlite:///{folder / 'state.sqlite'}"))
        self.recipe = CurateRecipe(name="test", section_characters_max=900)

    def library(self) -> tuple[list[Document], list[Pair]]:
        """See the function."""
        return library()

    def document(self, path: str, title: str, text: str) -> Document:
        """See the function."""
        return document(path, title, text)

    def forget(self) -> None:
        """An empty store: what was made must be made again."""
        self.store = ArtifactStore(str(self.folder / uuid.uuid4().hex))
        for path in (self.folder / "store" / "blobs").rglob("*.jsonl"):
            self.store.put_bytes(path.read_bytes(), path.name)

    def context(self, work: str | None = None) -> JobContext:
        name = work or uuid.uuid4().hex
        job = self.jobs.submit("datasets", {"work": uuid.uuid4().hex}, "in-flight").job
        work_dir = self.folder / "work" / name
        work_dir.mkdir(parents=True, exist_ok=True)
        return JobContext(job.id, work_dir, self.store, self.jobs)

    def collection(self, documents: Iterable[Document], pairs: Iterable[Pair], shards: int = 1) -> CollectionManifest:
        documents = sorted(documents, key=lambda item: item.source_path)
        size = -(-len(documents) // shards)
        pairs = list(pairs)

        def shard(rows: Iterable[Any], name: str) -> Any:
            return self.store.put_bytes("".join(canonical_json(row) + "\n" for row in rows).encode(), name)

        return CollectionManifest(
            id=manifest_id("collection", [content_hash(item) for item in [*documents, *pairs]]),
            source_name="src",
            recipe_sha256=content_hash("recipe"),
            shards=tuple(
                shard(documents[size * number : size * (number + 1)], f"documents-{number}.jsonl")
                for number in range(shards)
            ),
            pair_shards=(shard(pairs, "pairs-0.jsonl"),) if pairs else (),
            documents=len(documents),
            code_blocks=0,
            pairs=len(pairs),
            drops={},
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    def index(self, collection: CollectionManifest) -> IndexManifest:
        request = IndexRequest(recipe=self.recipe, collection=collection)
        return indexes.run(self.context(), request.model_dump(mode="json"))

    def request(self, collection: CollectionManifest, **changes: Any) -> dict[str, Any]:
        recipe = self.recipe.model_copy(update=changes)
        index = self.index(collection)
        return DatasetRequest(recipe=recipe, collection=collection, index=index).model_dump(mode="json")

    def dataset(self, collection: CollectionManifest, **changes: Any) -> DatasetManifest:
        return self.run_dataset(self.request(collection, **changes))

    def run_dataset(self, request: dict[str, Any]) -> DatasetManifest:
        return datasets.run(self.context(), request)


@pytest.fixture(scope="session")
def planted() -> Callable[..., Iterator[Any]]:
    """Makes secrets and personal items to be found again; see `planted.py`."""
    spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = module
    spec.loader.exec_module(module)
    return module.planted_items


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, DatasetManifest]:
    """The data set of the library, for tests that only look at it."""
    shared = Bench(tmp_path_factory.mktemp("library"))
    return shared, shared.dataset(shared.collection(*library()))
