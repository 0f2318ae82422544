"""The steps on single documents as a block of a datatrove pipeline: on Slurm, Ray or many local processes.

datatrove takes any callable as a block, so nothing of it is imported here and nothing of this service depends on it.
See docs/curator.md, "On a cluster".
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from jeeves_curator.documents.curation import document_steps
from jeeves_curator.documents.steps import review_documents
from jeeves_curator.shards import write_lines
from jeeves_shared.contracts.curation import DocumentRules
from jeeves_shared.contracts.documents import Document


class TroveDocument(Protocol):
    """What is used of datatrove's `Document`."""

    text: str
    id: str
    metadata: dict[str, Any]


class DocumentBlock:
    """Takes documents through the steps; what is dropped goes no further.

    Reads what datatrove's `JsonlReader(…, text_key="text", id_key="source_path")` makes of the shards of a collection.

    Args:
        rules: of the recipe.
        drops_folder: where each task writes its drops, as `DocumentDrop`.
    """

    def __init__(self, rules: DocumentRules, drops_folder: Path) -> None:
        self._rules = rules
        self._drops_folder = drops_folder

    def __call__(self, data: Iterable[TroveDocument], rank: int = 0, world_size: int = 1) -> Iterator[TroveDocument]:
        """Kept documents, with the text that the steps left.

        Args:
            data: of this task.
            rank: of this task, from 0.
            world_size: number of tasks.

        Raises:
            ValidationError: a line is no `Document`.
            StorageFull: no space left for the drops.
        """
        steps = document_steps(self._rules)
        drops = []
        for item in data:
            reviewed = review_documents([_document(item)], steps)
            drops += reviewed.drops
            for unit in reviewed.kept:
                fields = unit.document.model_dump(mode="json")
                item.text = fields.pop("text")
                item.metadata = fields
                drops += unit.paragraph_drops
                yield item
        self._drops_folder.mkdir(parents=True, exist_ok=True)
        write_lines(self._drops_folder / f"drops-{rank:05d}-of-{world_size:05d}.jsonl", drops)


def shard_row(_: object, item: TroveDocument) -> dict[str, Any]:
    """A line of a shard again: the `adapter` of datatrove's `JsonlWriter`."""
    return _document(item).model_dump(mode="json")


def _document(item: TroveDocument) -> Document:
    fields = {name: value for name, value in item.metadata.items() if name in Document.model_fields}
    return Document.model_validate({**fields, "text": item.text, "source_path": item.id})
