"""Posts of Stack Exchange, from wherever they come, to threads with their attribution.

Source: https://stackoverflow.com/help/licensing (versions by date of the contribution);
https://meta.stackexchange.com/questions/2677 (schema of the dump and of the Data Explorer).
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.html import to_markdown
from jeeves_collector.sources.threads import Thread, one_line
from jeeves_shared.contracts.documents import CollectedAnswer

_LICENCES = (
    (datetime(2018, 5, 2, tzinfo=UTC), "CC-BY-SA-4.0"),
    (datetime(2011, 4, 8, tzinfo=UTC), "CC-BY-SA-3.0"),
    (datetime.min.replace(tzinfo=UTC), "CC-BY-SA-2.5"),
)
_SPDX = re.compile(r"^CC BY-SA (?P<version>\d\.\d)$")


@dataclass(frozen=True)
class Post:
    """A question or an answer.

    Attributes:
        id: of the post.
        parent: of the question, for an answer; 0 for a question.
        accepted_id: of the accepted answer, for a question; 0 if there is none.
        title, tags: of a question.
        body: HTML.
        score: votes.
        author: display name, for the attribution.
        author_url: of the profile; empty if unknown.
        created_at: UTC; decides the licence where none is given.
        licence: as given by the site, or empty.
        active_at: last activity, in the source's own form.
    """

    id: int
    parent: int
    accepted_id: int
    title: str
    tags: tuple[str, ...]
    body: str
    score: int
    author: str
    author_url: str
    created_at: datetime
    licence: str
    active_at: str

    @property
    def spdx(self) -> str:
        """Licence as an SPDX identifier."""
        found = _SPDX.match(self.licence)
        if found:
            return f"CC-BY-SA-{found['version']}"
        return next(name for since, name in _LICENCES if self.created_at >= since)


def from_row(row: Mapping[str, str]) -> Post:
    """A row of the table Posts, as the dump and the Data Explorer write it.

    Raises:
        Dropped: a number or a date that is none.
    """
    try:
        return Post(
            id=int(row["Id"]),
            parent=int(row.get("ParentId") or 0),
            accepted_id=int(row.get("AcceptedAnswerId") or 0),
            title=row.get("Title") or "",
            tags=tag_names(row.get("Tags") or ""),
            body=row.get("Body") or "",
            score=int(row.get("Score") or 0),
            author=row.get("OwnerDisplayName") or (f"user {row['OwnerUserId']}" if row.get("OwnerUserId") else ""),
            author_url=f"/users/{int(row['OwnerUserId'])}" if row.get("OwnerUserId") else "",
            created_at=_date(row.get("CreationDate") or "1970-01-01"),
            licence=row.get("ContentLicense") or "",
            active_at=row.get("LastActivityDate") or row.get("LastEditDate") or row.get("CreationDate") or "",
        )
    except (KeyError, ValueError) as exc:
        raise Dropped(DropReason.ENTRY_INVALID, f"post {row.get('Id', '?')}: {exc}") from exc


def _date(text: str) -> datetime:
    at = datetime.fromisoformat(text.strip())
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def tag_names(text: str) -> tuple[str, ...]:
    """`<a><b>` of older dumps, `|a|b|` of newer ones, `a,b` of the Data Explorer's exports."""
    return tuple(name for name in re.split(r"[<>|,;\s]+", text) if name)


def thread(
    question: Post, answers: Sequence[Post], *, name: str, site: str, route: str, path: str = "", raw: Any = None
) -> tuple[Thread, int]:
    """A question with its answers.

    Args:
        question: without a parent.
        answers: with the question as parent.
        name: of the source.
        site: address of the site.
        route: how it came.
        path: between the name and the number of the question, such as the site.
        raw: what the source gave; the posts by default.

    Returns:
        The thread, and the number of its code blocks.

    Raises:
        Dropped: no title or no text.
    """
    asked = to_markdown(question.body, site)
    title = one_line(html.unescape(question.title))
    if not title or not asked.markdown.strip():
        raise Dropped(DropReason.ENTRY_INVALID, f"question {question.id} has no title or no text")
    told: list[CollectedAnswer] = []
    blocks = asked.code_blocks
    for answer in sorted(answers, key=lambda one: one.id):
        text = to_markdown(answer.body, site)
        if text.markdown.strip():
            blocks += text.code_blocks
            told.append(
                CollectedAnswer(
                    text=text.markdown,
                    score=answer.score,
                    accepted=answer.id == question.accepted_id,
                    author=one_line(answer.author),
                    url=f"{site}/a/{answer.id}",
                    licence=answer.spdx,
                    created_at=answer.created_at,
                )
            )
    made = Thread(
        source_path=f"{name}/{path}{question.id}",
        title=title,
        question=asked.markdown,
        answers=tuple(told),
        url=f"{site}/q/{question.id}",
        author=one_line(question.author),
        licence=question.spdx,
        raw=raw if raw is not None else [_plain(post) for post in (question, *answers)],
        tags=question.tags,
        score=question.score,
        section_path=(site.partition("://")[2],),
        route=route,
        revision=question.active_at,
    )
    return made, blocks


def _plain(post: Post) -> list[Any]:
    return [
        post.id,
        post.parent,
        post.accepted_id,
        post.title,
        *post.tags,
        post.body,
        post.score,
        post.author,
        post.spdx,
    ]


def wanted(question: Post, answers: Sequence[Post], score_min: int, accepted_only: bool) -> None:
    """What the recipe asks of a question.

    Raises:
        Dropped: it is not that.
    """
    if question.score < score_min:
        raise Dropped(DropReason.NOT_WANTED, f"score {question.score}")
    if accepted_only and not any(answer.id == question.accepted_id for answer in answers):
        raise Dropped(DropReason.NOT_WANTED, "no accepted answer")
