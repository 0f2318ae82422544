"""The Stack Exchange API 2.3: wrapper, filters, activity order, answers of many questions, throttle, quota, backoff.

Written from https://api.stackexchange.com/docs. Answers are always compressed, as the real ones are.
"""

import html
from dataclasses import dataclass, field
from typing import Any

from server import Answer, Query


@dataclass
class Question:
    id: int
    title: str
    body: str
    active: int
    tags: tuple[str, ...] = ("jenkins",)
    score: int = 1
    accepted: int = 0
    answers: list[tuple[int, str, int]] = field(default_factory=list)
    created: int = 1_600_000_000

    def listed(self, body: bool) -> dict[str, Any]:
        return {
            "question_id": self.id, "title": html.escape(self.title), "tags": list(self.tags), "score": self.score,
            "creation_date": self.created, "last_activity_date": self.active, "answer_count": len(self.answers),
            "is_answered": bool(self.answers), "link": f"https://stackoverflow.com/questions/{self.id}/slug",
            "owner": {"display_name": f"Asker &amp; {self.id}", "link": f"https://stackoverflow.com/users/{self.id}", "user_id": self.id},
            "content_license": "CC BY-SA 4.0",
            **({"accepted_answer_id": self.accepted} if self.accepted else {}), **({"body": self.body} if body else {}),
        }  # fmt: skip

    def answer(self, number: int) -> dict[str, Any]:
        answer_id, body, score = self.answers[number]
        return {
            "answer_id": answer_id, "question_id": self.id, "body": body, "score": score,
            "is_accepted": answer_id == self.accepted, "creation_date": self.created + 60 * number,
            "last_activity_date": self.active, "content_license": "CC BY-SA 3.0",
            "owner": {"display_name": f"Helper {number}", "link": f"https://stackoverflow.com/users/9{number}", "user_id": 90 + number},
        }  # fmt: skip


class StackExchangeApiSite:
    def __init__(self, questions: list[Question], quota: int = 300) -> None:
        self.questions = {question.id: question for question in questions}
        self.quota = quota
        self.backoff_next = 0

    def respond(self, query: Query) -> Answer:
        if self.quota <= 0:
            return Answer.of(
                {"error_id": 502, "error_message": "too many requests from this IP, more requests available in 39321 seconds", "error_name": "throttle_violation"},
                400,
            )  # fmt: skip
        parts = query.path.strip("/").split("/")
        if parts[:2] != ["2.3", "questions"] or not query.one("site"):
            return Answer.of(
                {"error_id": 404, "error_name": "no_method", "error_message": "this method cannot be called"}, 404
            )
        self.quota -= 1
        body = query.one("filter") == "withbody"
        if len(parts) == 2:
            least = int(query.one("min", "0"))
            tags = query.one("tagged").split(";")
            found = [one for one in self.questions.values() if one.active >= least and set(tags) <= set(one.tags)]
            found.sort(key=lambda one: (one.active, one.id), reverse=query.one("order") == "desc")
            items = [one.listed(body) for one in found]
        elif len(parts) == 3:
            asked = parts[2].split(";")
            if len(asked) > 100:
                return Answer.of({"error_id": 400, "error_name": "bad_parameter", "error_message": "ids"}, 400)
            items = [self.questions[number].listed(body) for number in map(int, asked) if number in self.questions]
        else:
            items = [
                self.questions[number].answer(place)
                for number in map(int, parts[2].split(";"))
                if number in self.questions
                for place in range(len(self.questions[number].answers))
            ]
        return self._wrapped(query, items)

    def _wrapped(self, query: Query, items: list[dict[str, Any]]) -> Answer:
        size, page = int(query.one("pagesize", "30")), int(query.one("page", "1"))
        wrapper: dict[str, Any] = {
            "items": items[(page - 1) * size : page * size], "has_more": len(items) > page * size,
            "quota_max": 300, "quota_remaining": self.quota,
        }  # fmt: skip
        if self.backoff_next:
            wrapper["backoff"], self.backoff_next = self.backoff_next, 0
        return Answer.of(wrapper)


def site(questions: int = 60) -> StackExchangeApiSite:
    made = []
    for number in range(1, questions + 1):
        code = f"node {{ sh '''\n  echo {number} && exit 1\n''' }}"
        question = Question(
            1000 + number, f"Why does \"build {number}\" fail?", f"<p>It <b>fails</b>:</p>\n<pre class=\"lang-groovy\"><code>{html.escape(code)}\n</code></pre>",
            active=1_700_000_000 + number // 3, score=number % 7,
        )  # fmt: skip
        for answer in range(number % 4):
            question.answers.append((50_000 + number * 10 + answer, f"<p>Answer {answer} to {number}</p>", answer))
        if question.answers:
            question.accepted = question.answers[-1][0]
        made.append(question)
    return StackExchangeApiSite(made)
