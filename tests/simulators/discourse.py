"""A Discourse forum: lists by activity, topics with streams of posts, rate limits, accepted answers.

Written from https://docs.discourse.org and the fields of real answers of community.jenkins.io.
"""

import html
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from server import Answer, Query

_PER_PAGE = 30
_POSTS_AT_ONCE = 20
_START = datetime(2024, 1, 1, tzinfo=UTC)


def stamp(minutes: int) -> str:
    return (_START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass
class Topic:
    id: int
    title: str
    posts: list[str]
    bumped: int
    accepted: int = 0
    tags: tuple[str, ...] = ()
    category: str = "using-jenkins/5"
    likes: dict[int, int] = field(default_factory=dict)
    pinned: bool = False

    def listed(self) -> dict[str, Any]:
        return {
            "id": self.id, "title": self.title, "fancy_title": html.escape(self.title), "slug": f"topic-{self.id}",
            "posts_count": len(self.posts), "created_at": stamp(0), "bumped_at": stamp(self.bumped),
            "last_posted_at": stamp(self.bumped), "pinned": self.pinned, "tags": list(self.tags),
            "has_accepted_answer": bool(self.accepted), "like_count": sum(self.likes.values()), "views": 10 + self.bumped,
        }  # fmt: skip

    def post(self, number: int) -> dict[str, Any]:
        likes = self.likes.get(number, 0)
        return {
            "id": self.id * 1000 + number, "post_number": number, "username": f"user{number}", "name": f"User {number}",
            "cooked": self.posts[number - 1], "created_at": stamp(number), "updated_at": stamp(number), "post_type": 1,
            "reply_to_post_number": None, "accepted_answer": number == self.accepted, "hidden": False,
            "user_deleted": False, "deleted_at": None,
            "actions_summary": [{"id": 2, "count": likes}] if likes else [],
        }  # fmt: skip

    def full(self) -> dict[str, Any]:
        numbers = range(1, len(self.posts) + 1)
        return {
            "id": self.id, "title": self.title, "slug": f"topic-{self.id}", "tags": list(self.tags),
            "posts_count": len(self.posts), "views": 99,
            "post_stream": {
                "posts": [self.post(number) for number in numbers[:_POSTS_AT_ONCE]],
                "stream": [self.id * 1000 + number for number in numbers],
            },
            **({"accepted_answer": {"post_number": self.accepted, "username": f"user{self.accepted}"}} if self.accepted else {}),
        }  # fmt: skip


class DiscourseForum:
    def __init__(self, topics: list[Topic]) -> None:
        self.topics = {topic.id: topic for topic in topics}
        self.robots = "User-agent: *\nDisallow: /admin/\n"

    def respond(self, query: Query) -> Answer:
        parts = query.path.strip("/").split("/")
        if query.path == "/robots.txt":
            return Answer.text(self.robots)
        if query.path == "/latest.json":
            return self._list(query, list(self.topics.values()))
        if parts[0] == "c" and query.path.endswith("/l/latest.json"):
            name = "/".join(parts[1:3])
            return self._list(query, [topic for topic in self.topics.values() if topic.category == name])
        if parts[0] == "tag":
            return self._list(query, [topic for topic in self.topics.values() if parts[1] in topic.tags])
        if parts[0] == "t" and len(parts) >= 2:
            topic = self.topics.get(int(parts[1].removesuffix(".json")))
            if topic is None:
                return Answer.of({"errors": ["The requested URL or resource could not be found."]}, 404)
            if parts[-1] == "posts.json":
                wanted = [int(number) % 1000 for number in query.fields.get("post_ids[]", [])]
                return Answer.of({"post_stream": {"posts": [topic.post(number) for number in wanted]}, "id": topic.id})
            return Answer.of(topic.full())
        return Answer.of({"errors": ["not found"]}, 404)

    def _list(self, query: Query, topics: list[Topic]) -> Answer:
        page = int(query.one("page", "0"))
        ordered = sorted(topics, key=lambda topic: (-topic.pinned, -topic.bumped, topic.id))
        shown = ordered[page * _PER_PAGE : (page + 1) * _PER_PAGE]
        listing: dict[str, Any] = {"per_page": _PER_PAGE, "topics": [topic.listed() for topic in shown]}
        if len(ordered) > (page + 1) * _PER_PAGE:
            listing["more_topics_url"] = f"/latest?page={page + 1}"
        return Answer.of({"users": [], "topic_list": listing})


def forum(topics: int = 70) -> DiscourseForum:
    made = []
    for number in range(1, topics + 1):
        code = f"pipeline {{\n    agent any // topic {number}\n\n\tstages {{ }}\n}}"
        posts = [
            f'<p>How does <em>thing {number}</em> work?</p>\n<pre><code class="lang-groovy">{html.escape(code)}\n</code></pre>',
            f"<p>Like this, because of {number} &amp; more.</p>",
            *(f"<p>Reply {reply} of {number}</p>" for reply in range(25 if number % 10 == 0 else 1)),
        ]
        made.append(
            Topic(
                number, f"Question {number} <about> pipelines", posts, bumped=number * 10,
                accepted=2 if number % 2 else 0, tags=("pipeline",) if number % 3 else ("agents",), likes={2: number % 5},
                pinned=number == 3,
            )
        )  # fmt: skip
    return DiscourseForum(made)
