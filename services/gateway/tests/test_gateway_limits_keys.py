"""Budgets, switches, cache and embeddings over real HTTP; Redis and the database in trouble."""

import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from jeeves_gateway.budgets import Budgets, BudgetStore, KeyLimits
from jeeves_gateway.errors import RateLimited
from jeeves_gateway.in_use import OwnUse
from jeeves_gateway.keys import Caller
from jeeves_gateway.limits import SWEEP_SECONDS, SweptMemoryStorage
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.write_behind import WriteBehind
from jeeves_shared.jobs.store import open_database

NODE = "What is a node?"
FAR = {"X-Forwarded-For": "203.0.113.9"}
CALLER = Caller("k1", frozenset({"chat"}), "key:k1")
OFF = {"reason": "drill", "until": "2999-01-01T00:00:00Z"}


def key(gateway, **limits: int) -> dict[str, str]:
    made = gateway.post("/v1/admin/keys", json={"name": "k", "scopes": ["chat", "diagnose"]}).json()
    gateway.put(f"/v1/admin/keys/{made['id']}/limits", json=limits).raise_for_status()
    return {**FAR, "Authorization": f"Bearer {made['key']}", "id": made["id"]}


def ask(gateway, headers: dict[str, str], **more: object):
    body = {"messages": [{"role": "user", "content": NODE}], **more}
    return gateway.post("/v1/chat/completions", json=body, headers=headers)


class TestBudgets:
    def test_each_limit_of_a_key(self, gateway, engine, wait_for) -> None:
        rate = key(gateway, requests_per_minute=1)
        assert [ask(gateway, rate).status_code for _ in range(2)] == [200, 429]
        daily = key(gateway, tokens_per_day=50)
        assert [ask(gateway, daily).status_code for _ in range(2)] == [200, 429]
        refused = ask(gateway, daily)
        assert 1 <= int(refused.headers["retry-after"]) <= 86401 and "today" in refused.json()["error"]["message"]
        used = gateway.get(f"/v1/admin/keys/{daily['id']}/limits").json()
        assert used["today"]["requests"] == 1 and used["today"]["tokens"] > 50
        minute = key(gateway, tokens_per_minute=50)
        assert [ask(gateway, minute).status_code for _ in range(2)] == [200, 429]
        free = key(gateway)
        assert [ask(gateway, free).status_code for _ in range(3)] == [200] * 3
        engine.pause_seconds = 0.2
        one = key(gateway, concurrent=1)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, gateway, one)
            wait_for(lambda: engine.running == 1)
            assert ask(gateway, one, stream=True).status_code == 429
            assert first.result().status_code == 200
        engine.pause_seconds = 0
        assert ask(gateway, one).status_code == 200
        assert 'reason="tokens-per-day"' in gateway.get("/metrics").text

    def test_a_lifted_limit_takes_effect_and_is_on_record(self, gateway) -> None:
        mine = key(gateway, tokens_per_day=0)
        assert ask(gateway, mine).status_code == 429
        gateway.put(f"/v1/admin/keys/{mine['id']}/limits", json={}).raise_for_status()
        time.sleep(0.25)
        assert ask(gateway, mine).status_code == 200
        assert gateway.get("/v1/admin/audit").json()[0]["action"] == "limits-changed"

    def test_daily_tokens_survive_a_restart(self, start_gateway) -> None:
        with start_gateway() as gateway:
            mine = key(gateway, tokens_per_day=50)
            assert ask(gateway, mine).status_code == 200
        with start_gateway() as gateway:
            assert ask(gateway, mine).status_code == 429

    async def test_a_store_that_is_down_lets_requests_pass_and_says_so(self, tmp_path) -> None:
        database = open_database(f"sqlite:///{tmp_path / 's.sqlite'}")
        registry = CollectorRegistry()
        metrics, store = GatewayMetrics(registry), BudgetStore(database)
        behind = WriteBehind(GatewayRecord(database), store, metrics)
        budgets = Budgets(store, behind, KeyLimits(tokens_per_day=0, concurrent=1), metrics, OwnUse())
        with pytest.raises(RateLimited):
            await budgets.admit(CALLER)
        with database.begin() as connection:
            connection.execute(text("DROP TABLE key_usage"))
        hold = await budgets.admit(CALLER)
        with pytest.raises(RateLimited, match="run already"):
            await budgets.admit(CALLER)
        hold.release()
        hold.release()
        (await budgets.admit(CALLER)).release()
        await budgets.spend(CALLER, 5)
        await behind.flush()
        down = registry.get_sample_value("jeeves_gateway_degradations_total", {"reason": "budget-store-down"})
        assert down is not None and down >= 3
        database.dispose()


class TestSwitches:
    def test_features_go_off_and_on(self, gateway, engine) -> None:
        def off(feature: str) -> None:
            gateway.put(f"/v1/admin/switches/{feature}", json=OFF).raise_for_status()

        off("streaming")
        assert gateway.listen(NODE)[0].status_code == 503 and gateway.ask(NODE).status_code == 200
        off("generation")
        asked = len(engine.requests)
        assert gateway.ask(NODE).json()["jeeves"]["rung"] in ("cached", "extractive") and len(engine.requests) == asked
        off("diagnose")
        assert gateway.post("/v1/diagnose", content=b"x").status_code == 503
        off("embeddings")
        assert gateway.post("/v1/embeddings", json={"input": "x"}).status_code == 503
        off("feedback")
        assert gateway.post("/v1/feedback", json={"response_id": "x", "rating": "up"}).status_code == 503
        assert set(gateway.get("/v1/admin/switches").json()) == {
            "streaming", "generation", "diagnose", "embeddings", "feedback",
        }  # fmt: skip
        for feature in gateway.get("/v1/admin/switches").json():
            gateway.delete(f"/v1/admin/switches/{feature}").raise_for_status()
        assert gateway.listen(NODE)[0].status_code == 200
        off("retrieval")
        engine.say = "Anything."
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "reduced"
        assert [row["action"] for row in gateway.get("/v1/admin/audit").json()[:2]] == ["feature-off", "feature-on"]

    def test_switches_survive_a_restart(self, start_gateway) -> None:
        with start_gateway() as gateway:
            gateway.put("/v1/admin/switches/diagnose", json=OFF).raise_for_status()
        with start_gateway() as gateway:
            assert gateway.post("/v1/diagnose", content=b"x").status_code == 503

    def test_cache_is_forgotten(self, gateway, engine) -> None:
        gateway.ask(NODE).raise_for_status()
        engine.behave = "refuse"
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "cached"
        assert gateway.delete("/v1/admin/cache").json() == {"answers": 1}
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "extractive"


class TestEmbeddings:
    def test_official_client(self, gateway) -> None:
        with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="any", max_retries=0) as client:
            made = client.embeddings.create(model="jeeves", input=["a build agent", "an agent for builds", "pancakes"])
            floats = client.embeddings.create(model="jeeves", input="a build agent", encoding_format="float")
            with pytest.raises(openai.NotFoundError):
                client.embeddings.create(model="text-embedding-3-small", input="x")
            for bad in ({"input": []}, {"input": ""}, {"input": "x", "dimensions": 12}):
                with pytest.raises(openai.BadRequestError):
                    client.embeddings.create(model="jeeves", **bad)
        first, near, far = (item.embedding for item in made.data)

        def cosine(a: list[float], b: list[float]) -> float:
            return sum(x * y for x, y in zip(a, b, strict=True))

        assert cosine(first, first) == pytest.approx(1, abs=1e-5)
        assert cosine(first, near) > cosine(first, far) + 0.2
        assert floats.data[0].embedding == pytest.approx(first, abs=1e-6)
        assert made.usage.total_tokens > 5


def test_counts_in_memory_are_swept_once_a_second_at_most() -> None:
    storage = SweptMemoryStorage("swept://")
    first = storage.timer
    first.join()  # the library's own, from its beginning
    for _ in range(50):
        assert storage.acquire_entry("key", 100, 60)
    timers = {id(storage.timer)}
    for _ in range(50):
        assert storage.acquire_entry("key", 100, 60)
        timers.add(id(storage.timer))
    assert not storage.acquire_entry("key", 100, 60)
    assert len(timers) == 1 and storage.timer.interval == SWEEP_SECONDS
    storage.timer.cancel()
