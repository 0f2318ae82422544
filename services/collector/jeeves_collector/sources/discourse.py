"""Source `discourse`: topics of a forum, newest activity first.

Source: https://docs.discourse.org (latest.json, c/{slug}/{id}/l/latest.json, tag/{name}/l/latest.json, t/{id}.json,
t/{id}/posts.json).
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.html import to_markdown
from jeeves_collector.outgoing.errors import RemoteDenied, RemoteError, RemoteMissing, ResponseMalformed
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.threads import Thread, document, one_line
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.documents import CollectedAnswer
from jeeves_shared.contracts.sources import DiscourseSource

_POSTS_PER_REQUEST = 20
_LIKE = 2
"""Number of the action `like` in `actions_summary`."""
_DAY_SECONDS = 86_400
_LIST_PAGES_MAX = 20_000
_Json = Mapping[str, Any]


class Discourse:
    """Reads the topics of a forum.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: DiscourseSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self._base = source.address.rstrip("/")
        self._fetcher = workplace.fetcher(source, obey_robots=True)
        known = workplace.credentials().of(source.address)
        self._headers = {"Api-Username": known.user, "Api-Key": known.secret.get_secret_value()} if known else {}

    @property
    def figures(self) -> FetchFigures:
        """What was asked of others so far."""
        return self._fetcher.figures

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """Topics that were active since the last run; all of them when it is time to look for removed ones."""
        now = time.time()
        listed_at = float(past.watermark.get("listed_at", 0.0))
        whole = now - listed_at > self._source.relist_days * _DAY_SECONDS
        start: dict[str, Any] = {
            "list": 0,
            "page": 0,
            "newest": "",
            "whole": whole,
            "listed_at": now if whole else listed_at,
        }
        cursor = past.cursor or start
        until = "" if cursor["whole"] else str(past.watermark.get("newest", ""))
        newest = str(cursor["newest"])
        with self._fetcher:
            lists = self._lists()
            for number in range(int(cursor["list"]), len(lists)):
                first = int(cursor["page"]) if number == cursor["list"] else 0
                for page in range(first, _LIST_PAGES_MAX):
                    topics, more = self._list(lists[number], page)
                    newest = max([newest, *(_activity(topic) for topic in topics)])
                    place = {**cursor, "list": number, "page": page, "newest": newest}
                    yield from self._topics(topics, past, place, (number + page / (page + 10)) / len(lists))
                    old = [topic for topic in topics if not topic.get("pinned") and _activity(topic) < until]
                    if not more or (until and old):
                        break
        yield Finished({"newest": newest, "listed_at": cursor["listed_at"]}, complete=bool(cursor["whole"]))

    def emptiness(self, drops: Counter[str]) -> str:
        """No topic matches."""
        return (
            f"{self._base} has no topic that is wanted (left out: {counted(drops)}): check `categories`, `tags` and "
            "`solved_only`."
        )

    def _lists(self) -> list[str]:
        lists = [f"/c/{name}/l/latest.json" for name in self._source.categories]
        if not lists:
            lists = [f"/tag/{quote(tag)}/l/latest.json" for tag in self._source.tags]
        return lists or ["/latest.json"]

    def _list(self, path: str, page: int) -> tuple[list[_Json], bool]:
        body = self._json(path, {"page": page, "order": "activity", "no_definitions": "true"})
        listing = body.get("topic_list") if isinstance(body, Mapping) else None
        if not isinstance(listing, Mapping) or not isinstance(listing.get("topics"), list):
            raise ResponseMalformed(f"{self._base}{path} gives no list of topics: is it a Discourse forum?")
        found = [
            topic for topic in listing["topics"] if isinstance(topic, Mapping) and isinstance(topic.get("id"), int)
        ]
        return found, bool(listing.get("more_topics_url")) and bool(listing["topics"])

    def _topics(self, topics: Sequence[_Json], past: Past, place: dict[str, Any], done: float) -> Iterator[Page]:
        # One topic a page: a kill loses one, and a resumed run asks for the list again, but not for its topics.
        unchanged: list[str] = []
        for topic in topics:
            key = str(topic["id"])
            if not self._matches(topic):
                continue
            if past.revision(key) == _revision(topic):
                unchanged.append(key)
            else:
                yield Page((self._item(topic, key),), cursor=place, done=done, message=one_line(topic.get("title")))
        yield Page(unchanged=tuple(unchanged), cursor={**place, "page": place["page"] + 1}, done=done)

    def _matches(self, topic: _Json) -> bool:
        names = {str(tag.get("name") if isinstance(tag, Mapping) else tag) for tag in topic.get("tags") or ()}
        return not self._source.tags or not names.isdisjoint(self._source.tags)

    def _item(self, topic: _Json, key: str) -> Item:
        revision = _revision(topic)
        try:
            if self._source.solved_only and topic.get("has_accepted_answer") is False:
                raise Dropped(DropReason.NOT_WANTED, "not solved")
            thread, blocks = self._thread(key, revision)
        except Dropped as exc:
            return Item(key, revision, drops=(Drop.of(f"{self._source.name}/{key}", exc),))
        content = document(thread, self._workplace.retrieved_at)
        return Item(key, revision, (content,), code_blocks=blocks)

    def _thread(self, key: str, revision: str) -> tuple[Thread, int]:
        body = self._topic(f"/t/{key}.json")
        posts = [post for post in self._posts(key, body) if _shown(post)]
        if not posts or posts[0].get("post_number") != 1:
            raise Dropped(DropReason.ENTRY_INVALID, "its first post is missing or hidden")
        accepted = body.get("accepted_answer")
        accepted_number = accepted.get("post_number") if isinstance(accepted, Mapping) else None
        slug = one_line(body.get("slug")) or "-"
        address = f"{self._base}/t/{quote(slug)}/{key}"
        answers: list[CollectedAnswer] = []
        texts = [to_markdown(str(post.get("cooked") or ""), self._base + "/") for post in posts]
        for post, text in zip(posts[1:], texts[1:], strict=True):
            if text.markdown.strip():
                answers.append(self._answer(post, text.markdown, address, accepted_number))
        if self._source.solved_only and not any(answer.accepted for answer in answers):
            raise Dropped(DropReason.NOT_WANTED, "not solved")
        tags = [str(tag.get("name") if isinstance(tag, Mapping) else tag) for tag in body.get("tags") or ()]
        thread = Thread(
            source_path=f"{self._source.name}/{key}",
            title=one_line(body.get("title")) or f"Topic {key}",
            question=texts[0].markdown,
            answers=tuple(answers),
            url=address,
            author=one_line(posts[0].get("username")),
            licence=self._source.licence,
            raw=[body.get("title"), tags, accepted_number, [[post.get(name) for name in _KEPT] for post in posts]],
            tags=tuple(sorted(tags)),
            score=_likes(posts[0]),
            revision=revision,
        )
        return thread, sum(text.code_blocks for text in texts)

    def _answer(self, post: _Json, markdown: str, address: str, accepted_number: Any) -> CollectedAnswer:
        number = post.get("post_number")
        return CollectedAnswer(
            text=markdown,
            score=_likes(post),
            accepted=bool(post.get("accepted_answer")) or (number is not None and number == accepted_number),
            author=one_line(post.get("username")),
            url=f"{address}/{number}",
            licence=self._source.licence,
            created_at=_time(post.get("created_at")),
        )

    def _posts(self, key: str, body: _Json) -> list[_Json]:
        stream = body.get("post_stream")
        if not isinstance(stream, Mapping) or not isinstance(stream.get("posts"), list):
            raise Dropped(DropReason.ENTRY_INVALID, "no posts")
        posts = {post["id"]: post for post in stream["posts"] if isinstance(post, Mapping) and "id" in post}
        wanted = [number for number in stream.get("stream") or () if isinstance(number, int)][: self._source.posts_max]
        missing = [number for number in wanted if number not in posts]
        for start in range(0, len(missing), _POSTS_PER_REQUEST):
            part = missing[start : start + _POSTS_PER_REQUEST]
            more = self._topic(f"/t/{key}/posts.json", {"post_ids[]": part}).get("post_stream")
            found = more.get("posts") if isinstance(more, Mapping) else None
            for post in found or ():
                if isinstance(post, Mapping) and "id" in post:
                    posts[post["id"]] = post
        ordered = [posts[number] for number in wanted if number in posts] or list(posts.values())
        return sorted(ordered, key=lambda post: int(post.get("post_number") or 0))

    def _topic(self, path: str, params: Mapping[str, Any] | None = None) -> _Json:
        try:
            body = self._json(path, params)
        except RemoteMissing as exc:
            raise Dropped(DropReason.GONE, exc.detail) from exc
        except RemoteDenied as exc:
            raise Dropped(DropReason.DENIED, exc.detail) from exc
        except RemoteError as exc:
            raise Dropped(DropReason.ENTRY_INVALID, exc.detail) from exc
        if not isinstance(body, Mapping):
            raise Dropped(DropReason.ENTRY_INVALID, "not a JSON object")
        return body

    def _json(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._fetcher.get_json(f"{self._base}{path}", params=params, headers=self._headers)


_KEPT = ("id", "post_number", "username", "cooked", "created_at", "updated_at", "reply_to_post_number")


def _activity(topic: _Json) -> str:
    # ISO 8601 in UTC with one precision: as text in the order of time.
    return str(topic.get("bumped_at") or topic.get("last_posted_at") or "")


def _revision(topic: _Json) -> str:
    return f"{_activity(topic)}/{topic.get('posts_count')}/{topic.get('has_accepted_answer')}/{topic.get('title')}"


def _shown(post: _Json) -> bool:
    ordinary = post.get("post_type", 1) == 1
    return ordinary and not (post.get("hidden") or post.get("deleted_at") or post.get("user_deleted"))


def _likes(post: _Json) -> int:
    actions = post.get("actions_summary") or ()
    return sum(int(one.get("count") or 0) for one in actions if isinstance(one, Mapping) and one.get("id") == _LIKE)


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
