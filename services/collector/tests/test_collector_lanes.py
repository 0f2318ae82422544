"""Sources of other hosts are read side by side, and one that fails stops the others where they can go on."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jeeves_shared.errors import SourceUnusable

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

from remotes import Remote, running
from server import Fault, Query

KINDS = ("discourse", "plugins", "stackexchange-api")
_PATIENCE_SECONDS = 60.0


@pytest.fixture
def remotes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Remote]]:
    monkeypatch.setenv("JEEVES_COLLECTOR_BACKOFF_SECONDS", "0.01")
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-01-02T03:04:05Z")
    with ExitStack() as stack:
        started = [stack.enter_context(running(kind, tmp_path / f"{kind}.credentials")) for kind in KINDS]
        for kind, remote in zip(KINDS, started, strict=True):
            remote.source["name"] = kind
        yield started


def bodies(collector: Any, *sources: dict[str, Any]) -> list[bytes]:
    manifest = collector.collect(*sources)
    return [collector.store.read_bytes(shard) for shard in (*manifest.shards, *manifest.pair_shards)]


def test_each_waits_for_its_own_host_only(
    remotes: list[Remote], collector: Any, make_collector: Any, write_tree: Any, tmp_path: Path
) -> None:
    folder = write_tree({"a.md": "# A page\n\nSome text of a page that is long enough.\n"})
    tree = {"type": "tree", "name": "files", "location": str(folder)}
    asked = [threading.Event() for _ in remotes]
    late: list[str] = []

    def answer_when_all_were_asked(number: int) -> Any:
        def before(_query: Query) -> None:
            asked[number].set()
            late.extend(kind for kind, event in zip(KINDS, asked, strict=True) if not event.wait(_PATIENCE_SECONDS))

        return before

    for number, remote in enumerate(remotes):
        remote.server.before = answer_when_all_were_asked(number)
    together = bodies(collector, *(remote.source for remote in remotes), tree)
    assert not late
    with make_collector(tmp_path / "alone") as other:
        # What each source gives is kept; the last collection finds all of it unchanged.
        for remote in remotes:
            other.collect(remote.source)
        assert bodies(other, *(remote.source for remote in remotes), tree) == together


def test_one_that_fails_stops_the_others_and_loses_nothing(remotes: list[Remote], collector: Any) -> None:
    forum, plugins, _ = remotes
    under_way = threading.Event()

    def be_slow(query: Query) -> None:
        if query.path.startswith("/t/"):
            under_way.set()
            time.sleep(0.2)

    forum.server.before = be_slow
    plugins.server.before = lambda _query: (under_way.wait(_PATIENCE_SECONDS), None)[1]
    plugins.server.fault("/update-center.json", Fault.status(404))
    with pytest.raises(SourceUnusable, match="update-center"):
        collector.collect(*(remote.source for remote in remotes))
    read = forum.items()
    forum.server.before = lambda _query: None
    manifest = collector.collect(*(remote.source for remote in remotes))
    topics = sum(path.startswith("discourse/") for path in collector.documents(manifest))
    assert 0 < read < topics
