"""Source `stackexchange-api`: questions by tag, in the order of their last activity.

Pages go by time and not by number: the next request asks for what was active since the last one seen. So a question
that becomes active while we read moves to the end, where it is read again, and none is skipped.

No list of the API names what was removed, and votes or a removed answer are no activity. So once in `relist_days` the
questions that no list named are asked for by number, a hundred in a request: those that do not come are gone.

Source: https://api.stackexchange.com/docs (questions, answers-on-questions, throttle, wrapper, filters).
"""

import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.outgoing.errors import QuotaExhausted, RemoteError, ResponseMalformed
from jeeves_collector.sources.posts import Post, thread, wanted
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.threads import document, utc
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.sources import StackExchangeApiSource

_THROTTLE_VIOLATION = 502
_THROTTLE_TRIES = 5
_DAY_SECONDS = 86_400
_NUMBERS_MAX = 100
"""Of questions in one request, as the API has it."""
_GONE_TOGETHER_MAX = 20
"""When this many neighbours are gone at once, the answer is not believed."""
_SECONDS = re.compile(r"available in (\d+) seconds")
_Json = dict[str, Any]


class StackExchangeApi:
    """Reads questions and their answers through the API.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: StackExchangeApiSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        # An API made for programs: robots.txt speaks to crawlers.
        self._fetcher = workplace.fetcher(source, obey_robots=False)
        self._key = workplace.credentials().of(source.address)
        self._used_up = False

    @property
    def figures(self) -> FetchFigures:
        """What was asked of others so far."""
        return self._fetcher.figures

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """Questions of each site and tag that were active since the last run."""
        lists = [(site, tag) for site in self._source.sites for tag in self._source.tags]
        since: dict[str, int] = dict(past.watermark.get("since", {}))
        now = self._workplace.retrieved_at.timestamp()
        checked_at = float(past.watermark.get("checked_at", 0))
        if past.cursor is None and now - checked_at > self._source.relist_days * _DAY_SECONDS:
            checked_at = now
        cursor = past.cursor or {"list": 0, "min": 0, "page": 1, "since": since, "checked_at": checked_at}
        since, checked_at = dict(cursor["since"]), float(cursor.get("checked_at", checked_at))
        whole = checked_at != float(past.watermark.get("checked_at", 0))
        with self._fetcher:
            for number in range(int(cursor["list"]), len(lists)):
                site, tag = lists[number]
                name = f"{site}/{tag}"
                resumed = number == cursor["list"] and past.cursor is not None
                least = int(cursor["min"]) if resumed else since.get(name, 0)
                page = int(cursor["page"]) if resumed else 1
                while True:
                    body = self._questions(site, tag, least, page)
                    items, unchanged = self._read(site, body["items"], past)
                    newest = max((int(one["last_activity_date"]) for one in body["items"]), default=least)
                    more = bool(body["items"]) and bool(body.get("has_more"))
                    # As long as a whole page lies within one second, only its number leads on.
                    least, page = (newest, 1) if newest > least else (least, page + 1)
                    if not more:
                        since[name] = newest
                    place = (number, least, page) if more else (number + 1, 0, 1)
                    here = {**cursor, "list": place[0], "min": place[1], "page": place[2], "since": dict(since)}
                    yield Page(items, unchanged, here, number / len(lists), f"{name} since {newest}")
                    if not more:
                        break
            if whole:
                here = {**cursor, "list": len(lists), "since": dict(since)}
                yield from self._named(past, here, str(cursor.get("after", "")))
        yield Finished({"since": since, "checked_at": checked_at}, complete=whole)

    def emptiness(self, drops: Counter[str]) -> str:
        """No question matches."""
        return (
            f"{', '.join(self._source.sites)} has no question with {' or '.join(self._source.tags)} that is wanted "
            f"(left out: {counted(drops)}): check tags, sites and `score_min`."
        )

    def _questions(self, site: str, tag: str, least: int, page: int) -> _Json:
        return self._call(
            "questions",
            {
                "site": site, "tagged": tag, "sort": "activity", "order": "asc", "min": least, "page": page,
                "pagesize": self._source.page_size, "filter": "withbody",
            },
        )  # fmt: skip

    def _named(self, past: Past, place: _Json, after: str) -> Iterator[Page]:
        """What is left of the questions that no list has named in this run."""
        while keys := past.unseen(after, _NUMBERS_MAX):
            site = keys[0].rpartition("/")[0]
            of_site = [key for key in keys if key.rpartition("/")[0] == site]
            numbers = ";".join(key.rpartition("/")[2] for key in of_site)
            body = self._call(
                f"questions/{numbers}", {"site": site, "pagesize": _NUMBERS_MAX, "page": 1, "filter": "withbody"}
            )
            if not body["items"] and len(of_site) >= _GONE_TOGETHER_MAX:
                raise ResponseMalformed(
                    f"{self._source.address} says that none of {len(of_site)} questions of {site} exists any more, "
                    "which is hard to believe. Nothing was removed: collect again later, or rename the source."
                )
            items, unchanged = self._read(site, body["items"], past)
            after = of_site[-1]
            yield Page(items, unchanged, {**place, "after": after}, 1.0, f"{site}: is {after} still there?")

    def _read(self, site: str, questions: Sequence[_Json], past: Past) -> tuple[tuple[Item, ...], tuple[str, ...]]:
        unchanged: list[str] = []
        changed: list[_Json] = []
        for one in questions:
            known = past.revision(f"{site}/{one['question_id']}") == _revision(one)
            if known:
                unchanged.append(f"{site}/{one['question_id']}")
            else:
                changed.append(one)
        answers = self._answers(site, [one["question_id"] for one in changed if one.get("answer_count")])
        return tuple(self._item(site, one, answers.get(one["question_id"], [])) for one in changed), tuple(unchanged)

    def _answers(self, site: str, questions: Sequence[int]) -> dict[int, list[_Json]]:
        answers: dict[int, list[_Json]] = {}
        page = 1
        while questions:
            path = f"questions/{';'.join(map(str, questions))}/answers"
            body = self._call(
                path,
                {"site": site, "sort": "creation", "order": "asc", "page": page, "pagesize": 100, "filter": "withbody"},
            )
            for one in body["items"]:
                answers.setdefault(one.get("question_id", 0), []).append(one)
            if not body.get("has_more"):
                break
            page += 1
        return answers

    def _item(self, site: str, raw: _Json, raw_answers: Sequence[_Json]) -> Item:
        key = f"{site}/{raw['question_id']}"
        try:
            question, answers = _post(raw), [_post(one) for one in raw_answers]
            wanted(question, answers, self._source.score_min, self._source.accepted_only)
            parts = urlsplit(str(raw.get("link", "")))
            address = f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"https://{site}"
            made, blocks = thread(
                question,
                answers,
                name=self._source.name,
                site=address,
                route="api",
                path=f"{site}/",
                raw=[raw, *raw_answers],
            )
        except Dropped as exc:
            return Item(key, _revision(raw), drops=(Drop.of(f"{self._source.name}/{key}", exc),))
        content = document(made, self._workplace.retrieved_at)
        return Item(key, _revision(raw), (content,), code_blocks=blocks)

    def _call(self, path: str, params: Mapping[str, Any]) -> _Json:
        url = f"{self._source.address.rstrip('/')}/{path}"
        query = dict(params) | ({"key": self._key.secret.get_secret_value()} if self._key else {})
        if self._used_up:
            raise QuotaExhausted(
                f"The daily quota of {self._source.address} is used up. What was read is kept: collect again tomorrow, "
                "and it goes on from here; a key in JEEVES_COLLECTOR_CREDENTIALS_FILE raises the quota."
            )
        for _ in range(_THROTTLE_TRIES):
            try:
                body = self._fetcher.get_json(url, params=query)
            except RemoteError as exc:
                # A refusal for the rate comes as status 400, with its number and the pause in the text.
                if f'"error_id":{_THROTTLE_VIOLATION}' not in exc.detail.replace(" ", ""):
                    raise
                found = _SECONDS.search(exc.detail)
                self._fetcher.hold_back(url, float(found[1]) if found else 60.0)
                continue
            return self._checked(body, url)
        raise QuotaExhausted(
            f"{self._source.address} refuses every request for the rate. What was read is kept: collect again later."
        )

    def _checked(self, body: Any, url: str) -> _Json:
        if not isinstance(body, dict) or not isinstance(body.get("items"), list):
            raise ResponseMalformed(f"{url} gives no list of items: check the address of the source.")
        if body.get("backoff"):
            self._fetcher.hold_back(url, float(body["backoff"]))
        usable = [one for one in body["items"] if isinstance(one, dict) and isinstance(one.get("question_id"), int)]
        body["items"] = [one for one in usable if "answer_id" in one or isinstance(one.get("last_activity_date"), int)]
        # The answer itself is good; it is the next request that would be refused.
        self._used_up = body.get("quota_remaining") == 0
        return body


def _revision(raw: _Json) -> str:
    return f"{raw.get('last_activity_date')}/{raw.get('score')}/{raw.get('answer_count')}"


def _post(raw: _Json) -> Post:
    owner = raw.get("owner") if isinstance(raw.get("owner"), dict) else {}
    try:
        return Post(
            id=int(raw["answer_id"] if "answer_id" in raw else raw["question_id"]),
            parent=int(raw["question_id"]) if "answer_id" in raw else 0,
            accepted_id=int(raw.get("accepted_answer_id") or 0),
            title=str(raw.get("title") or ""),
            tags=tuple(map(str, raw.get("tags") or ())),
            body=str(raw.get("body") or ""),
            score=int(raw.get("score") or 0),
            author=html.unescape(str((owner or {}).get("display_name") or "")),
            author_url=str((owner or {}).get("link") or ""),
            created_at=utc(float(raw.get("creation_date") or 0)),
            licence=str(raw.get("content_license") or ""),
            active_at=str(raw.get("last_activity_date") or ""),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise Dropped(DropReason.ENTRY_INVALID, f"post of question {raw.get('question_id')}: {exc}") from exc
