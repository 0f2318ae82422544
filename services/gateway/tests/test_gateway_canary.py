"""The sequential test against simulated models; test_gateway_engine has a candidate beside a champion."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from jeeves_gateway.canary import FALSE_ALARM, MISSED, SequentialTest, UsualTime, in_share
from jeeves_gateway.canary_room import CanaryRoom
from jeeves_gateway.engines import ExternalEngine
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.upstream import Endpoint, Upstream
from jeeves_shared.contracts.canary import CanaryRequest
from jeeves_shared.contracts.manifests import ModelManifest
from jeeves_shared.contracts.requests import ServedModel
from jeeves_shared.errors import Conflict, NotFound
from jeeves_shared.jobs.store import open_database


def trial(seed: int, champion: float, candidate: float, share: float = 0.2, answers_max: int = 20000) -> SequentialTest:
    draw = random.Random(seed)
    test = SequentialTest()
    for _ in range(answers_max):
        if draw.random() < share:
            if test.candidate(draw.random() < candidate) != "running":
                break
        else:
            test.champion(draw.random() < champion)
    return test


class TestSequentialTest:
    def test_error_rates_are_those_that_were_asked_for(self) -> None:
        good = [trial(seed, 0.15, 0.15).verdict for seed in range(200)]
        worse = [trial(seed, 0.15, 0.261).verdict for seed in range(200)]
        # Three standard errors above the nominal rate, of 200 trials.
        assert good.count("worse") / 200 <= FALSE_ALARM + 3 * (FALSE_ALARM * 0.95 / 200) ** 0.5
        assert worse.count("as-good") / 200 <= MISSED + 3 * (MISSED * 0.95 / 200) ** 0.5
        assert "running" not in good + worse

    def test_a_broken_candidate_is_found_within_few_answers(self) -> None:
        assert all(trial(seed, 0.1, 1.0).answers <= 20 for seed in range(20))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=300))
    def test_verdict_is_final_and_counts_add_up(self, events: list[tuple[bool, bool]]) -> None:
        test, final = SequentialTest(), "running"
        for champion, bad in events:
            if champion:
                test.champion(bad)
            else:
                test.candidate(bad)
            assert final in ("running", test.verdict)
            final = test.verdict
        assert 0 <= test.bad <= test.answers and 0 <= test.champion_bad <= test.champion_answers

    def test_share_is_kept_and_conversations_stay(self) -> None:
        inside = [in_share(f"conversation {number}", 0.3) for number in range(4000)]
        assert 0.27 < sum(inside) / 4000 < 0.33
        assert inside == [in_share(f"conversation {number}", 0.3) for number in range(4000)]


class TestUsualTime:
    def test_nothing_is_slow_as_long_as_little_is_known(self) -> None:
        usual = UsualTime()
        for _ in range(19):
            usual.champion(1.0)
        assert not usual.is_slow(100.0)
        usual.champion(1.0)
        assert usual.is_slow(100.0) and not usual.is_slow(2.9)

    def test_some_slow_answers_of_the_champion_change_little(self) -> None:
        usual = UsualTime()
        for number in range(200):
            usual.champion(60.0 if number % 5 == 0 else 1.0)
        assert usual.is_slow(4.0)


@pytest.mark.parametrize(("share", "shadow", "refused"), [(0.5, False, False), (0.6, False, True), (1.0, True, False)])
def test_the_champion_keeps_half_of_the_conversations(some_model, share: float, shadow: bool, refused: bool) -> None:
    asked = {"serve": some_model, "share": share, "shadow": shadow}
    if refused:
        with pytest.raises(ValidationError, match="the champion must answer too"):
            CanaryRequest.model_validate(asked)
    else:
        assert CanaryRequest.model_validate(asked).share == share


def test_an_external_engine_has_no_candidates(gateway) -> None:
    assert gateway.get("/v1/admin/models/canary").status_code == 404
    assert gateway.delete("/v1/admin/models/canary").status_code == 404
    assert gateway.post("/v1/admin/models/canary/promote").status_code == 404


@pytest.fixture
def some_model() -> dict:
    """A request to serve a model."""
    manifest = ModelManifest(
        id="model-1", name="m", version=1, base_model="b", base_licence="MIT", dataset_id="", training_id="",
        recipe_sha256="", architecture="llama", template_sha256="", prompt_sha256="", files=(),
        created_at=datetime.now(UTC),
    )  # fmt: skip
    return {"model": manifest.model_dump(mode="json"), "quantization": "Q8_0"}


class Beside:
    """A room that starts candidates which need no process."""

    def __init__(self, model: ServedModel) -> None:
        self.engine = ExternalEngine(
            model, Endpoint("http://127.0.0.1:9/v1", {}, "x"), upstream=Upstream(1, 1), clock=lambda: 0.0
        )  # fmt: skip
        self.engine.ready = True

    async def start_beside(self, _document: object) -> ExternalEngine:
        return self.engine


@pytest.mark.parametrize("how", ["worse", "slow", "engine-down"])
async def test_a_bad_candidate_is_rolled_back_by_itself(tmp_path, some_model, how: str) -> None:
    champion = ServedModel(id="c", name="c", version=1, quantization="Q", sha256="", state="ready")
    candidate = champion.model_copy(update={"id": some_model["model"]["id"]})
    database = open_database(f"sqlite:///{tmp_path / 's.sqlite'}")
    record, beside = GatewayRecord(database), Beside(candidate)
    room = CanaryRoom(beside, record, GatewayMetrics(CollectorRegistry()), 1.0)  # type: ignore[arg-type]
    request = CanaryRequest.model_validate({"serve": some_model, "share": 0.5})
    assert (await room.start(request, "me")).verdict == "running"
    with pytest.raises(Conflict, match="not known to be as good"):
        await room.promote("me")
    inside = next(name for name in map(str, range(99)) if in_share(name, 0.5))
    assert room.choose(inside) is beside.engine
    if how == "worse":
        for _ in range(11):
            room.observe(champion.id, bad=False)
            room.observe(candidate.id, bad=True)
    elif how == "slow":
        for _ in range(20):
            room.observe(champion.id, bad=False, seconds=1.0)
        for _ in range(11):
            room.observe(candidate.id, bad=False, seconds=3.1)
    else:
        beside.engine.ready = False
    assert room.choose(inside) is None
    assert room.model is None
    assert room.state().ended == ("canary-engine-down" if how == "engine-down" else "canary-worse")
    with pytest.raises(NotFound):
        await room.end("me")
    await room.stop()
    assert {row["action"] for row in record.audit()} >= {"canary-started"}
    database.dispose()
