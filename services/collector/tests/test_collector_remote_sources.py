"""Every source that speaks HTTP, against its simulator: straight, resumed, incremental, and in bad weather."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jeeves_collector.outgoing.errors import AddressRefused, QuotaExhausted, ResponseMalformed, SourceAway
from jeeves_shared.contracts.collections import CollectionReport
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.errors import SourceUnusable

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

import controller as controller_simulator
import discourse as discourse_simulator
from remotes import REMOTE_KINDS, Remote, running
from server import Fault, Query


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("JEEVES_COLLECTOR_BACKOFF_SECONDS", "0.01")
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-01-02T03:04:05Z")
    credentials = tmp_path / "credentials"
    credentials.write_text("")
    monkeypatch.setenv("JEEVES_COLLECTOR_CREDENTIALS_FILE", str(credentials))
    return credentials


@pytest.fixture
def remote(request: pytest.FixtureRequest, settings: Path) -> Iterator[Remote]:
    with running(request.param, settings) as started:
        yield started


every_source = pytest.mark.parametrize("remote", REMOTE_KINDS, indirect=True)


def shards(collector: Any, manifest: CollectionManifest) -> list[bytes]:
    return [collector.store.read_bytes(shard) for shard in (*manifest.shards, *manifest.pair_shards)]


def report(collector: Any) -> CollectionReport:
    path = collector.data_dir / "collector" / "reports" / f"{collector.last_job}.json"
    return CollectionReport.model_validate_json(path.read_bytes())


@every_source
def test_unchanged_is_the_same_collection_and_costs_few_requests(remote: Remote, collector: Any) -> None:
    first = collector.collect(remote.source)
    assert first.documents >= 12
    items = remote.items()
    remote.server.requests.clear()
    second = collector.collect(remote.source)
    assert second == first
    assert remote.items() < items / 2
    diff = report(collector).diff
    assert (diff.previous_id, diff.added, diff.changed, diff.removed) == (first.id, 0, 0, 0)


@every_source
def test_a_run_that_was_stopped_goes_on_and_comes_out_equal(
    remote: Remote, collector: Any, make_collector: Any, tmp_path: Path
) -> None:
    straight = collector.collect(remote.source)
    whole = len(remote.server.requests)
    remote.server.requests.clear()
    with make_collector(tmp_path / "stopped") as stopped:
        seen = 0

        def stop_in_the_middle(query: Query) -> None:
            nonlocal seen
            seen += 1
            if seen == whole // 2:
                remote.server.fault("*", *[Fault.status(503)] * 6)

        remote.server.before = stop_in_the_middle
        with pytest.raises(SourceAway, match="What was read is kept"):
            stopped.collect(remote.source)
        remote.server.before = lambda query: None
        resumed = stopped.collect(remote.source)
        assert resumed.id == straight.id
        assert shards(stopped, resumed) == shards(collector, straight)
        # Six refused requests, the page in flight, and the lists once more.
        assert len(remote.server.requests) <= whole + 6 + 12


@every_source
def test_a_storm_of_refusals_is_weathered(remote: Remote, collector: Any, make_collector: Any, tmp_path: Path) -> None:
    straight = collector.collect(remote.source)
    calm = len(remote.server.requests)
    with make_collector(tmp_path / "storm") as storm:
        remote.server.fault("*", *[Fault.status(429, Retry_After="0")] * 40)
        stormy = storm.collect(remote.source)
        assert shards(storm, stormy) == shards(collector, straight)
    assert len(remote.server.requests) == 2 * calm + 40


@every_source
def test_truncated_slow_and_broken_answers_are_asked_for_again(
    remote: Remote, collector: Any, make_collector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = collector.collect(remote.source)
    monkeypatch.setenv("JEEVES_COLLECTOR_RESPONSE_SECONDS", "0.5")
    with make_collector(tmp_path / "weather") as weather:
        remote.server.fault(
            "*", Fault.truncated(), Fault.reset(), Fault.status(502), Fault.slow(3.0), Fault.truncated()
        )
        assert shards(weather, weather.collect(remote.source)) == shards(collector, straight)


@every_source
def test_a_quota_stops_cleanly_and_each_day_goes_on(
    remote: Remote, collector: Any, make_collector: Any, tmp_path: Path
) -> None:
    remote.source["requests_per_day"] = 25
    days = 1
    while True:
        try:
            manifest = collector.collect(remote.source)
            break
        except QuotaExhausted as exc:
            assert "goes on from here" in exc.detail
            assert len(remote.server.requests) == 25 * days
        days += 1
        for path in (collector.data_dir / "collector" / "hosts").glob("*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"day": "2026-01-01"}))
    assert days > 1 or len(remote.server.requests) < 25
    with make_collector(tmp_path / "straight") as straight:
        remote.source["requests_per_day"] = 0
        assert shards(straight, straight.collect(remote.source)) == shards(collector, manifest)


@every_source
def test_private_addresses_need_a_word(remote: Remote, collector: Any) -> None:
    remote.source["allow_private"] = False
    with pytest.raises(AddressRefused, match="allow_private"):
        collector.collect(remote.source)
    assert remote.server.requests == []


@every_source
def test_an_address_of_something_else_is_told(settings: Path, remote: Remote, collector: Any) -> None:
    remote.server.fault("*", *[Fault.json({"hello": "world"}, 200)] * 200)
    with pytest.raises(SourceUnusable) as caught:
        collector.collect(remote.source)
    assert remote.source["address"].partition("://")[2].split("/")[0] in caught.value.detail


@pytest.mark.parametrize("remote", ["discourse"], indirect=True)
def test_discourse_reads_what_changed(remote: Remote, collector: Any) -> None:
    first = collector.collect(remote.source)
    documents = collector.documents(first)
    assert len(documents) == 70
    topic = documents["remote/7"]
    assert topic.title == "Question 7 <about> pipelines"
    assert "```groovy\npipeline {\n    agent any // topic 7\n\n\tstages { }\n}\n```" in topic.text
    assert [(answer.accepted, answer.score, answer.author) for answer in topic.answers][:2] == [
        (True, 2, "user2"),
        (False, 0, "user3"),
    ]
    assert topic.provenance.url == f"{remote.source['address']}/t/topic-7/7"
    assert len(documents["remote/10"].answers) == 26
    remote.server.requests.clear()
    forum = remote.simulator
    forum.topics[5].posts.append("<p>New reply</p>")
    forum.topics[5].bumped = 5000
    forum.topics[99] = discourse_simulator.Topic(99, "A new question", ["<p>What is new?</p>", "<p>This.</p>"], 5001)
    second = collector.collect(remote.source)
    # The list, and the two topics; robots.txt is asked for once a run.
    assert remote.server.counts("/t/") == {"/t/5.json": 1, "/t/99.json": 1}
    assert sum(remote.server.counts("/latest").values()) == 1
    assert (report(collector).diff.added, report(collector).diff.changed) == (1, 1)
    assert "New reply" in collector.documents(second)["remote/5"].text


@pytest.mark.parametrize("remote", ["discourse"], indirect=True)
def test_discourse_changes_while_it_is_paged(remote: Remote, collector: Any) -> None:
    forum = remote.simulator

    def bump(query: Query) -> None:
        if query.path == "/t/40.json":
            forum.topics[2].bumped = 9000
            forum.topics[2].posts.append("<p>Bumped</p>")
        if query.path == "/t/60.json":
            forum.topics.pop(61, None)
            forum.topics.pop(30, None)

    remote.server.before = bump
    collector.collect(remote.source)
    remote.server.before = lambda query: None
    after = collector.documents(collector.collect(remote.source))
    assert "Bumped" in after["remote/2"].text


@pytest.mark.parametrize("remote", ["discourse"], indirect=True)
def test_discourse_finds_removed_topics_when_it_lists_all(remote: Remote, collector: Any) -> None:
    collector.collect(remote.source)
    del remote.simulator.topics[9]
    assert collector.collect(remote.source).documents == 70
    # The ledger forgets when it listed all.
    ledger = sqlite3.connect(collector.data_dir / "collector" / "ledger.sqlite")
    with ledger:
        (text,) = ledger.execute("SELECT watermark FROM runs").fetchone()
        ledger.execute("UPDATE runs SET watermark = ?", (json.dumps({**json.loads(text), "listed_at": 0}),))
    ledger.close()
    assert collector.collect(remote.source).documents == 69
    assert report(collector).diff.removed == 1


@pytest.mark.parametrize("remote", ["discourse"], indirect=True)
def test_discourse_topics_by_category_tag_and_solution(remote: Remote, collector: Any) -> None:
    solved = collector.collect({**remote.source, "solved_only": True, "tags": ["pipeline"]})
    assert solved.documents == 23
    assert solved.drops == {"not-wanted": 24}
    assert collector.collect({**remote.source, "name": "c", "categories": ["using-jenkins/5"]}).documents == 70


@pytest.mark.parametrize("remote", ["discourse"], indirect=True)
def test_robots_are_obeyed(remote: Remote, collector: Any) -> None:
    remote.simulator.robots = "User-agent: jeeves-collector\nDisallow: /latest.json\n"
    with pytest.raises(AddressRefused, match=r"robots\.txt"):
        collector.collect(remote.source)
    assert [query.path for query in remote.server.requests] == ["/robots.txt"]
    assert remote.server.requests[0].headers["user-agent"].startswith("jeeves-collector/")


@pytest.mark.parametrize("remote", ["discourse"], indirect=True)
def test_one_broken_topic_is_left_out_with_a_reason(remote: Remote, collector: Any) -> None:
    remote.server.fault("/t/7.json", *[Fault.malformed()] * 3)
    remote.server.fault("/t/8.json", Fault.status(404))
    remote.server.fault("/t/9.json", Fault.status(403))
    manifest = collector.collect(remote.source)
    assert manifest.documents == 67
    assert manifest.drops == {"denied": 1, "entry-invalid": 1, "gone": 1}


@pytest.mark.parametrize("remote", ["stackexchange-api"], indirect=True)
def test_stack_exchange_keeps_attribution_and_reads_what_changed(remote: Remote, collector: Any) -> None:
    remote.simulator.backoff_next = 1
    documents = collector.documents(collector.collect(remote.source))
    question = documents["remote/stackoverflow/1007"]
    assert question.title == 'Why does "build 7" fail?'
    assert "```groovy\nnode { sh '''\n  echo 7 && exit 1\n''' }\n```" in question.text
    assert (question.provenance.author, question.provenance.licence, question.provenance.route) == (
        "Asker & 1007",
        "CC-BY-SA-4.0",
        "api",
    )
    assert [(answer.licence, answer.accepted) for answer in question.answers] == [
        ("CC-BY-SA-3.0", False),
        ("CC-BY-SA-3.0", False),
        ("CC-BY-SA-3.0", True),
    ]
    assert question.answers[0].url == "https://stackoverflow.com/a/50070"
    remote.server.requests.clear()
    changed = remote.simulator.questions[1003]
    changed.active, changed.body = 1_800_000_000, "<p>Edited</p>"
    second = collector.documents(collector.collect(remote.source))
    assert second["remote/stackoverflow/1003"].question == "Edited"
    assert len(remote.server.requests) <= 2
    assert (report(collector).diff.added, report(collector).diff.changed) == (0, 1)


@pytest.mark.parametrize("remote", ["stackexchange-api"], indirect=True)
def test_stack_exchange_notices_what_was_removed(
    remote: Remote, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-01-01T00:00:00Z")
    collector.collect(remote.source)
    del remote.simulator.questions[1003]
    remote.simulator.questions[1006].answers.pop()
    remote.simulator.questions[1007].score = 99
    remote.simulator.questions[1060].body = "<p>Edited</p>"
    remote.simulator.questions[1060].active += 1000
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-01-30T00:00:00Z")
    assert collector.collect(remote.source).documents == 60
    remote.server.requests.clear()
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-02-01T00:00:00Z")
    # A quota that stops it between the list and the question for what is left: the next run goes on there.
    remote.source["requests_per_day"] = used_today(collector) + 1
    with pytest.raises(QuotaExhausted):
        collector.collect(remote.source)
    remote.source["requests_per_day"] = 0
    manifest = collector.collect(remote.source)
    assert manifest.documents == 59
    diff = report(collector).diff
    assert diff.names == {
        "changed": ("remote/stackoverflow/1006", "remote/stackoverflow/1007"),
        "removed": ("remote/stackoverflow/1003",),
    }
    # The list, those that it did not name, and the answers of the two that are different.
    assert len(remote.server.requests) == 3
    assert collector.collect(remote.source) == manifest
    assert len(remote.server.requests) == 4


def used_today(collector: Any) -> int:
    (path,) = (collector.data_dir / "collector" / "hosts").glob("*.json")
    return int(json.loads(path.read_text())["used"])


@pytest.mark.parametrize("remote", ["stackexchange-api"], indirect=True)
def test_stack_exchange_does_not_believe_that_all_is_gone(
    remote: Remote, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-01-01T00:00:00Z")
    collector.collect(remote.source)
    kept = dict(remote.simulator.questions)
    remote.simulator.questions.clear()
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", "2026-03-01T00:00:00Z")
    with pytest.raises(ResponseMalformed, match="hard to believe"):
        collector.collect(remote.source)
    remote.simulator.questions.update(kept)
    assert collector.collect(remote.source).documents == 60


@pytest.mark.parametrize("remote", ["stackexchange-api"], indirect=True)
def test_stack_exchange_quota_of_the_site(remote: Remote, collector: Any) -> None:
    remote.simulator.quota = 5
    with pytest.raises(QuotaExhausted, match="tomorrow"):
        collector.collect(remote.source)
    assert len(remote.server.requests) == 5
    remote.simulator.quota = 300
    assert collector.collect(remote.source).documents == 60


@pytest.mark.parametrize("remote", ["stackexchange-api"], indirect=True)
def test_stack_exchange_changes_while_it_is_paged(remote: Remote, collector: Any) -> None:
    def edit(query: Query) -> None:
        if len(remote.server.requests) == 4:
            remote.simulator.questions[1001].active = 1_900_000_000
            remote.simulator.questions[1001].body = "<p>Edited meanwhile</p>"

    remote.server.before = edit
    documents = collector.documents(collector.collect(remote.source))
    assert len(documents) == 60
    assert documents["remote/stackoverflow/1001"].question == "Edited meanwhile"


@pytest.mark.parametrize("remote", ["plugins"], indirect=True)
def test_plugins_are_read_again_when_they_change(remote: Remote, collector: Any) -> None:
    documents = collector.documents(collector.collect(remote.source))
    plugin = documents["remote/plugin-001"].text
    assert "- Required Jenkins core: 2.440.3" in plugin
    assert "## Security warnings\n\n- SECURITY-1: Stored XSS, up to and including version 1.0" in plugin
    assert "```groovy\nstep1(a: 1,\n      b: '<x>')\n```" in plugin
    assert "in list 1" in plugin
    assert "SECURITY-2" not in plugin
    remote.server.requests.clear()
    remote.simulator.plugins["plugin-002"]["version"] = "2.0"
    del remote.simulator.plugins["plugin-003"]
    remote.simulator.script = True
    second = collector.collect(remote.source)
    assert remote.server.counts("/api/plugin/") == {"/api/plugin/plugin-002": 1}
    diff = report(collector).diff
    assert (diff.added, diff.changed, diff.removed) == (0, 1, 1)
    assert second.documents == 39


@pytest.mark.parametrize("remote", ["plugins"], indirect=True)
def test_a_plugin_without_documentation_keeps_its_facts(remote: Remote, collector: Any) -> None:
    del remote.simulator.pages["plugin-004"]
    manifest = collector.collect({**remote.source, "plugins": ["plugin-004", "plugin-999"]})
    assert manifest.documents == 1
    assert manifest.drops == {"gone": 2}


@pytest.mark.parametrize("remote", ["jenkins"], indirect=True)
def test_a_controller_is_read_without_its_secrets(remote: Remote, collector: Any) -> None:
    manifest = collector.collect(remote.source)
    documents = collector.documents(manifest)
    assert len(documents) == 1 + 12 + 24
    assert "- `git` 5.7.0: The git plugin" in documents["remote/controller"].text
    job = documents["remote/job/team/inner folder/job-02"]
    assert (
        "```groovy\npipeline {\n  agent any\n  stages { stage('x') { steps { echo '2 & <b>' } } }\n}\n```" in job.text
    )
    assert job.provenance.url.endswith("/job/team/job/inner%20folder/job/job-02/")
    log = documents["remote/build/team/inner folder/job-02/3"]
    assert log.kind == "log"
    assert "line 29 of 2\nERROR: script returned exit code 2\nFinished: FAILURE" in log.text
    assert "[from 2024-01-01T00:00:00.000Z to 2024-01-01T00:00:29.000Z]" in log.text
    assert "Failed tests (2)" in log.text
    everything = "".join(document.model_dump_json() for document in documents.values())
    assert not [secret for secret in ("AQAAABAAAA", "-secret", "t0ken", "\\u001b", "8mha:") if secret in everything]
    remote.server.requests.clear()
    remote.simulator.jobs["job-03"].builds.insert(0, controller_simulator.Build(4, "FAILURE", "new\n"))
    second = collector.collect(remote.source)
    assert second.documents == manifest.documents + 1
    assert [path for path in remote.server.counts("/job/") if "logText" in path] == [
        "/job/job-03/4/logText/progressiveText"
    ]


@pytest.mark.parametrize("remote", ["jenkins"], indirect=True)
def test_what_may_not_be_read_is_named_with_its_permission(remote: Remote, collector: Any) -> None:
    remote.simulator.denied = {"/job/job-03/config.xml", "/pluginManager/api/json", "/job/job-06/api/json"}
    manifest = collector.collect(remote.source)
    assert manifest.drops == {"denied": 3}
    samples = " ".join(sample for drop in report(collector).drops for sample in drop.samples)
    assert "Job/ExtendedRead" in samples
    assert "Overall/SystemRead" in samples


@pytest.mark.parametrize("remote", ["jenkins"], indirect=True)
def test_an_expired_crumb_is_renewed(remote: Remote, collector: Any) -> None:
    remote.simulator.crumb_uses = 10
    assert collector.collect(remote.source).drops == {}
    assert remote.simulator.crumbs_given > 2


@pytest.mark.parametrize("remote", ["jenkins"], indirect=True)
def test_a_wrong_token_is_told(settings: Path, remote: Remote, collector: Any) -> None:
    settings.write_text(f"{remote.server.address.replace('://', '://reader:wrong@')}\n")
    with pytest.raises(Exception, match="Overall/Read and Job/Read") as caught:
        collector.collect(remote.source)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("remote", ["jenkins"], indirect=True)
def test_a_long_log_keeps_its_beginning_and_its_end(remote: Remote, collector: Any) -> None:
    lines = "\n".join(f"line {number}" for number in range(5000))
    remote.simulator.jobs["job-03"].builds = [controller_simulator.Build(1, "FAILURE", f"first\n{lines}\nthe cause\n")]
    manifest = collector.collect({**remote.source, "folders": ["job-03"], "log_bytes_max": 8192})
    text = collector.documents(manifest)["remote/build/job-03/1"].text
    assert "first\nline 0" in text
    assert "the cause" in text
    assert "bytes between beginning and end were left out" in text
    assert len(text) < 10_000
