"""Many keys at the same time, each with a canary of its own in questions, conversations and logs: nothing crosses."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

REQUESTS = int(os.environ.get("JEEVES_CROSSTALK_REQUESTS", "240"))
KEYS = 8
FAR = {"X-Forwarded-For": "203.0.113.9"}
CANARY = re.compile(r"canary-(\d)-[a-f0-9]{6}")


@pytest.fixture
def crowded(start_gateway, engine, caplog):
    """A gateway whose engine repeats what it was told, as the worst engine would."""
    engine.echo = True
    with start_gateway(gateway_slots=8, gateway_queue_waiting_max=500, gateway_rate_limit="1000000/minute") as client:
        yield client, caplog


def test_nothing_crosses_from_key_to_key(crowded, engine) -> None:
    gateway, caplog = crowded
    keys, conversations, secrets = [], [], []
    for number in range(KEYS):
        body = {"name": f"k{number}", "scopes": ["chat", "diagnose", "feedback"]}
        made = gateway.post("/v1/admin/keys", json=body).json()
        keys.append({**FAR, "Authorization": f"Bearer {made['key']}"})
        conversations.append(gateway.post("/v1/conversations", json={}, headers=keys[-1]).json()["id"])
        secrets.append(f"canary-{number}-{os.urandom(3).hex()}")

    def talk(turn: int) -> list[str]:
        number = turn % KEYS
        # In between the engine fails for a while: fallbacks and caches are part of the test.
        engine.behave = "refuse" if turn % 97 in (50, 51, 52, 53) else "well"
        question = f"What is a node? {secrets[number]}"
        body = {
            "messages": [{"role": "user", "content": question}],
            "stream": turn % 3 == 0,
            "jeeves": {
                "retrieval": turn % 2 != 0,
                **({"conversation": conversations[number]} if turn % 4 == 0 else {}),
            },
        }
        if turn % 11 == 0:
            log = f"[Pipeline] {{ ({secrets[number]})\nERROR: {secrets[number]} broke\nFinished: FAILURE\n"
            text = gateway.post("/v1/diagnose", content=log.encode(), headers=keys[number]).text
        else:
            text = gateway.post("/v1/chat/completions", json=body, headers=keys[number]).text
        return [found for found in CANARY.findall(text) if found != str(number)]

    with ThreadPoolExecutor(16) as pool:
        leaks = [leak for found in pool.map(talk, range(REQUESTS)) for leak in found]
    assert leaks == []
    engine.behave = "well"
    for number in range(KEYS):
        kept = gateway.get(f"/v1/conversations/{conversations[number]}", headers=keys[number]).text
        assert set(CANARY.findall(kept)) <= {str(number)}
        assert not CANARY.search(
            gateway.get(f"/v1/conversations/{conversations[number - 1]}", headers=keys[number]).text
        )
    for path in ("/metrics", "/v1/admin/status", "/v1/admin/audit", "/v1/admin/feedback"):
        assert not CANARY.search(gateway.get(path).text), path
    assert not CANARY.search("\n".join(json.dumps(record.__dict__, default=str) for record in caplog.records))
    sent = [CANARY.findall(json.dumps(request)) for request in engine.requests]
    assert all(len(set(found)) <= 1 for found in sent), "one prompt holds one key's words"
    assert sum(bool(found) for found in sent) > REQUESTS // 20
