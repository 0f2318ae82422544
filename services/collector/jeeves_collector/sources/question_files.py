"""Source `questions`: questions with answers from files of many forms."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.tables import Row, read_rows, table_files
from jeeves_collector.sources.threads import Thread, code_blocks, document, one_line
from jeeves_collector.workplace import Workplace
from jeeves_shared.artifacts import file_sha256
from jeeves_shared.contracts.documents import CollectedAnswer, Document, Pair
from jeeves_shared.contracts.sources import QuestionColumns, QuestionsSource

_TRUE = frozenset({"1", "1.0", "true", "yes", "y", "t", "x", "best", "accepted", "是"})
_HUMAN = frozenset({"human", "user", "prompter"})
_MODEL = frozenset({"gpt", "assistant", "model", "chatgpt", "bot"})
_TITLE_CHARACTERS = 120


@dataclass
class _Asked:
    """A question on its way, with the rows that answer it."""

    title: str
    question: str
    answers: list[CollectedAnswer]
    fields: Mapping[str, Any]


class QuestionFiles:
    """Reads files of questions, one file a page.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: QuestionsSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self.figures = FetchFigures()

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """All files in order; those with the bytes of the last time are not read again."""
        files = table_files(self._source.location)
        root = Path(self._source.location).expanduser()
        for done, path in enumerate(files):
            name = path.name if root.is_file() else path.relative_to(root).as_posix()
            self._workplace.report(done / len(files), name)
            digest = file_sha256(path)
            if past.revision(name) == digest:
                yield Page(unchanged=(name,))
            else:
                yield Page((self._item(path, name, digest),))
        yield Finished()

    def emptiness(self, drops: Counter[str]) -> str:
        """No row of any file is a question with an answer."""
        return (
            f"{self._source.location} holds no question with an answer (left out: {counted(drops)}): name its columns "
            "under `columns`, or its form under `layout`."
        )

    def _item(self, path: Path, name: str, digest: str) -> Item:
        rows = enumerate(read_rows(path), start=1)
        drops: list[Drop] = []
        content: list[Document | Pair] = []
        blocks = 0
        where = f"{self._source.name}/{name}"
        for number, asked in self._asked(rows, where, drops):
            made = self._document(asked, name, number)
            blocks += code_blocks(made)
            content.append(made)
            if self._source.pairs and asked.answers:
                content.append(_pair(made, asked))
        return Item(name, digest, tuple(content), tuple(drops), code_blocks=blocks)

    def _asked(self, rows: Iterator[tuple[int, Row]], where: str, drops: list[Drop]) -> Iterator[tuple[int, _Asked]]:
        grouped: dict[tuple[str, str], tuple[int, _Asked]] = {}
        for number, row in rows:
            try:
                if isinstance(row, Dropped):
                    raise row
                layout = _layout(row) if self._source.layout == "auto" else self._source.layout
                asked = _FORMS[layout](row, self._source.columns)
            except Dropped as exc:
                drops.append(Drop.of(f"{where}:{number}", exc))
                continue
            if layout != "four-column":
                yield number, asked
            elif (key := (asked.title, asked.question)) in grouped:
                grouped[key][1].answers.extend(asked.answers)
            else:
                grouped[key] = (number, asked)
        yield from grouped.values()

    def _document(self, asked: _Asked, name: str, number: int) -> Document:
        columns, fields = self._source.columns, asked.fields
        tags = fields.get(columns.tags) or ()
        return document(
            Thread(
                source_path=f"{self._source.name}/{name}/{_identifier(fields.get(columns.id)) or number}",
                title=asked.title,
                question=asked.question,
                answers=tuple(asked.answers),
                url=_web(fields.get(columns.url)),
                author=one_line(fields.get(columns.author)) or self._source.author,
                licence=self._source.licence,
                raw=[asked.title, asked.question, [answer.model_dump(mode="json") for answer in asked.answers]],
                tags=tuple(map(one_line, tags if isinstance(tags, list | tuple) else str(tags).split(","))),
                score=_integer(fields.get(columns.score)),
            ),
            self._workplace.retrieved_at,
        )


def _layout(row: Mapping[str, Any]) -> str:
    if "conversations" in row:
        return "sharegpt"
    if "messages" in row:
        return "messages"
    if "instruction" in row and "output" in row:
        return "alpaca"
    return "four-column" if {"title", "question", "reply", "is_best"} <= row.keys() else "columns"


def _from_columns(row: Mapping[str, Any], columns: QuestionColumns) -> _Asked:
    question = _text(row, columns.question)
    answers = (
        [
            CollectedAnswer(
                text=_text(row, columns.answer),
                score=_integer(row.get(columns.score)),
                accepted=True,
                author=one_line(row.get(columns.author)),
            )
        ]
        if columns.answer
        else []
    )  # Open questions are kept as such: what is asked is worth knowing.
    return _Asked(one_line(row.get(columns.title)) or _title_of(question), question, answers, row)


def _from_alpaca(row: Mapping[str, Any], columns: QuestionColumns) -> _Asked:
    question = "\n\n".join(part for part in (_text(row, "instruction"), str(row.get("input") or "").strip()) if part)
    return _Asked(_title_of(question), question, [CollectedAnswer(text=_text(row, "output"), accepted=True)], row)


def _from_four_columns(row: Mapping[str, Any], columns: QuestionColumns) -> _Asked:
    title, question = one_line(row.get("title")), str(row.get("question") or "").strip()
    if not (title or question):
        raise Dropped(DropReason.QUESTION_INVALID, "neither title nor question")
    best = str(row.get("is_best", "")).strip().lower() in _TRUE
    answer = CollectedAnswer(text=_text(row, "reply"), accepted=best)
    return _Asked(title or _title_of(question), question or title, [answer], row)


def _from_turns(row: Mapping[str, Any], columns: QuestionColumns) -> _Asked:
    turns = row.get("conversations", row.get("messages"))
    if isinstance(turns, str):
        # A cell of a table holds the list as JSON.
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError) as exc:
            raise Dropped(DropReason.QUESTION_INVALID, f"the conversation is not JSON: {exc}") from exc
    said = _turns(turns)
    asked = next((number for number, (role, _) in enumerate(said) if role == "human"), None)
    if asked is None or len(said) <= asked + 1 or said[asked + 1][0] != "model":
        raise Dropped(DropReason.QUESTION_INVALID, "no question that is followed by an answer")
    # Later turns lean on the earlier ones; the first exchange stands for itself.
    question, answer = said[asked][1], said[asked + 1][1]
    return _Asked(_title_of(question), question, [CollectedAnswer(text=answer, accepted=True)], row)


def _turns(turns: Any) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    for turn in turns if isinstance(turns, Sequence) and not isinstance(turns, str | bytes) else ():
        if not isinstance(turn, Mapping):
            continue
        role = str(turn.get("from", turn.get("role", ""))).lower()
        content = turn.get("value", turn.get("content"))
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, Mapping)]
            content = "\n".join(part for part in parts if isinstance(part, str))
        if isinstance(content, str) and content.strip():
            said.append(("human" if role in _HUMAN else "model" if role in _MODEL else "other", content.strip()))
    return said


_FORMS = {
    "columns": _from_columns,
    "alpaca": _from_alpaca,
    "sharegpt": _from_turns,
    "messages": _from_turns,
    "four-column": _from_four_columns,
}


def _pair(made: Document, asked: _Asked) -> Pair:
    best = next((answer for answer in asked.answers if answer.accepted), asked.answers[0])
    title_says_it = asked.title.rstrip("…") in asked.question or asked.question == asked.title
    return Pair(
        id=made.source_path.replace("/", "-"),
        kind="how-to" if asked.title.lower().startswith("how ") else "concept",
        question=asked.question if title_says_it else f"{asked.title}\n\n{asked.question}",
        answer=best.text,
        source_path=made.source_path,
    )


def _text(row: Mapping[str, Any], name: str) -> str:
    text = str(row.get(name) if row.get(name) is not None else "").replace("\0", "").strip()
    if not text:
        raise Dropped(DropReason.QUESTION_INVALID, f"no {name}")
    return text


def _title_of(question: str) -> str:
    first = one_line(question.strip().split("\n")[0]).lstrip("# ") or one_line(question)
    return first if len(first) <= _TITLE_CHARACTERS else first[: _TITLE_CHARACTERS - 1] + "…"


def _identifier(value: Any) -> str:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value or "")
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in text)[:100].strip(".")


def _web(value: Any) -> str:
    text = str(value or "").strip()
    return text if text.startswith(("https://", "http://")) and not any(char.isspace() for char in text) else ""


def _integer(value: Any) -> int:
    try:
        return int(float(value or 0))
    except (ValueError, TypeError, OverflowError):
        return 0
