"""Source `feedback`: what users said about answers, and what reviewers made of it."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.encoding import decode
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.threads import Thread, code_blocks, document, one_line
from jeeves_collector.workplace import Workplace
from jeeves_shared.artifacts import file_sha256
from jeeves_shared.contracts.documents import CollectedAnswer, Pair
from jeeves_shared.contracts.feedback import FEEDBACK_TAG, FeedbackItem
from jeeves_shared.contracts.sources import FeedbackSource
from jeeves_shared.errors import SourceUnusable

_FILE_BYTES_MAX = 256 * 1024**2
_TITLE_CHARACTERS_MAX = 120


class FeedbackFiles:
    """Reads exports of feedback, one file a page.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 2

    def __init__(self, source: FeedbackSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self.figures = FetchFigures()

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """All files in order; of feedback that stands in several, the last counts."""
        root = Path(self._source.location).expanduser()
        if not root.exists():
            raise SourceUnusable(f"{root} does not exist: give the gateway's export, or a folder of exports.")
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*.jsonl") if path.is_file())
        if not files:
            raise SourceUnusable(f"{root} holds no .jsonl file: give the gateway's export.")
        digests = {path: file_sha256(path) for path in files}
        revision = "+".join(digests[path][:16] for path in files)
        if past.watermark == {"files": revision}:
            yield Finished(past.watermark, all_unchanged=True)
            return
        items: dict[str, Item] = {}
        for path in files:
            items |= {item.key: item for item in self._items(path)}
        yield Page(tuple(items.values()), done=1.0)
        yield Finished({"files": revision})

    def emptiness(self, drops: Counter[str]) -> str:
        """No line is feedback that may be used."""
        return (
            f"{self._source.location} holds no feedback that was reviewed and has a right answer (left out: "
            f"{counted(drops)}): release some in the gateway, and export again."
        )

    def _item(self, item: FeedbackItem) -> Item:
        # A pair needs a document that supports it; here that is the reviewed answer itself.
        key = "".join(char if char.isalnum() or char in "._-" else "-" for char in item.id).strip(".") or "-"
        question, answer = item.question.strip(), _right_answer(item)
        thread = Thread(
            source_path=f"{self._source.name}/{key}",
            title=one_line(question)[:_TITLE_CHARACTERS_MAX],
            question=question,
            answers=(
                CollectedAnswer(text=answer, accepted=True, author=item.reviewed_by, licence=self._source.licence),
            ),
            url="",
            author=item.reviewed_by,
            licence=self._source.licence,
            raw=item.model_dump(mode="json"),
            revision=item.response_id,
            tags=(FEEDBACK_TAG,),
        )
        made = document(thread, self._workplace.retrieved_at)
        if _was_corrected(item):
            # Beside the text, never in it: it must not be found, only be told apart from the right one.
            original = CollectedAnswer(text=item.answer.strip(), score=-1, licence=self._source.licence)
            made = made.model_copy(update={"answers": (*made.answers, original)})
        pair = Pair(
            id=f"{self._source.name}-{key}",
            kind="how-to",
            question=question,
            answer=answer,
            source_path=made.source_path,
        )
        return Item(key, made.provenance.sha256, (made, pair), code_blocks=code_blocks(made))

    def _items(self, path: Path) -> Iterator[Item]:
        try:
            if path.stat().st_size > _FILE_BYTES_MAX:
                raise SourceUnusable(f"{path} is larger than {_FILE_BYTES_MAX >> 20} MiB: split it.")
            lines = decode(path.read_bytes()).split("\n")
        except OSError as exc:
            raise SourceUnusable(f"{path} cannot be read ({exc.strerror}): check its permissions.") from exc
        except Dropped as exc:
            raise SourceUnusable(f"{path} is not a text file ({exc}): export it again.") from exc
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{self._source.name}/{path.name}:{number}"
                try:
                    yield self._item(_released(line))
                except Dropped as exc:
                    yield Item(where, "", drops=(Drop.of(where, exc),))


def _released(line: str) -> FeedbackItem:
    try:
        # Lenient with fields of later versions, strict with those that are known.
        fields = json.loads(line)
        item = FeedbackItem.model_validate({key: fields[key] for key in FeedbackItem.model_fields if key in fields})
    except ValidationError as exc:
        mistakes = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise Dropped(DropReason.FEEDBACK_INVALID, mistakes) from exc
    except (ValueError, TypeError, RecursionError) as exc:
        raise Dropped(DropReason.FEEDBACK_INVALID, f"not a JSON object: {exc}") from exc
    if not item.reviewed_by.strip():
        raise Dropped(DropReason.FEEDBACK_NOT_REVIEWED, item.id)
    if not item.question.strip() or not _right_answer(item):
        raise Dropped(DropReason.FEEDBACK_WITHOUT_ANSWER, item.id)
    return item


def _right_answer(item: FeedbackItem) -> str:
    return item.corrected_answer.strip() or (item.answer.strip() if item.rating == "up" else "")


def _was_corrected(item: FeedbackItem) -> bool:
    corrected, given = item.corrected_answer.strip(), item.answer.strip()
    return bool(corrected and given) and corrected != given
