"""The chat API over real HTTP, with the official OpenAI client and an engine that can be told to fail."""

import threading
import time

import httpx
import openai
import pytest

MADE_UP = "What does `withCredentials(usernamePassword: true)` set, usernameVariable and passwordVariable?"
NODE = "What is a node?"
WEAK = "Which agent is the cheapest machine for a build?"
LOGIN = "How do I use withCredentials with a username and password?"


def content_of(events: list) -> str:
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e != "[DONE]" and e["choices"])


class TestOpenAiClient:
    def test_lists_models_and_asks(self, gateway) -> None:
        with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="any") as client:
            assert "jeeves" in [model.id for model in client.models.list()]
            answer = client.chat.completions.create(model="jeeves", messages=[{"role": "user", "content": NODE}])
        message = answer.choices[0].message
        assert message.content.startswith(
            "A node is any machine on which Jenkins can run a build. [1]\n\nFrom the source [1]:\n\nA node is"
        )
        assert message.annotations is not None
        cited = message.annotations[0].url_citation
        assert (cited.url, cited.title) == ("https://docs.example.org/agents", "Agents")
        assert message.content[cited.start_index : cited.end_index] == "[1]"
        assert answer.usage is not None and answer.usage.completion_tokens > 0

    def test_streams(self, gateway) -> None:
        with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="any") as client:
            chunks = list(
                client.chat.completions.create(
                    model="jeeves",
                    messages=[{"role": "user", "content": NODE}],
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text.startswith(
            "A node is any machine on which Jenkins can run a build. [1]\n\nFrom the source [1]:\n\nA node is"
        )
        assert len({chunk.id for chunk in chunks}) == 1
        last = next(chunk for chunk in reversed(chunks) if chunk.choices)
        assert last.choices[0].finish_reason == "stop"
        assert last.choices[0].delta.annotations[0]["url_citation"]["section"] == "Nodes and executors"
        assert last.jeeves["response_id"] == chunks[0].id
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0

    def test_errors_are_openai_errors(self, gateway) -> None:
        with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="any", max_retries=0) as client:
            with pytest.raises(openai.NotFoundError, match="gpt-9"):
                client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": NODE}])
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model="jeeves", messages=[{"role": "user", "content": NODE}], n=2)
        assert refused.value.param == "n"


class TestAnswers:
    def test_extension_and_headers(self, gateway) -> None:
        response = gateway.ask(NODE)
        extension = response.json()["jeeves"]
        assert response.headers["x-jeeves-rung"] == extension["rung"] == "full"
        assert response.headers["x-jeeves-model"] == extension["model_version"]
        assert extension["citations"][0]["source_path"] == "test/agents.md"
        assert extension["grounded"] is True and extension["refused"] is False
        lineage = gateway.get(f"/v1/responses/{extension['response_id']}/lineage").json()
        assert lineage["index_id"] == extension["index_id"]
        assert lineage["cited"] == ["test/agents.md"]
        assert NODE not in str(lineage)

    def test_engine_gets_our_prompt_only(self, gateway, engine) -> None:
        gateway.ask(NODE, n_discard=9, user="me", metadata={"a": "b"}, seed=7)
        body = engine.requests[-1]
        assert set(body) <= {
            "model",
            "messages",
            "stream",
            "stream_options",
            "max_tokens",
            "temperature",
            "seed",
            "stop",
        }
        assert body["seed"] == 7 and body["temperature"] == 0
        assert body["messages"][-1]["content"].startswith("Sources:\n[1] Agents › Nodes and executors")

    def test_how_to_gets_the_code_of_the_source(self, gateway, engine) -> None:
        engine.say = "Use the usernamePassword binding of withCredentials, it sets two variables."
        text = gateway.ask(LOGIN).json()["choices"][0]["message"]["content"]
        assert "```groovy\nwithCredentials([usernamePassword(credentialsId: 'nexus'" in text
        assert text.count("From the source [1]:") == 1

    def test_invented_code_is_replaced_by_the_sources(self, gateway, engine) -> None:
        engine.say = "Use the usernamePassword binding:\n\n```groovy\nbindLogin(user: 'me')\n```\n"
        for text in (
            gateway.ask(LOGIN).json()["choices"][0]["message"]["content"],
            content_of(gateway.listen(LOGIN)[1]),
        ):
            assert "bindLogin" not in text
            assert "withCredentials([usernamePassword(" in text

    @pytest.mark.parametrize(
        ("said", "flaw"),
        [
            ("The moon orbits the earth once in a month, which sailors know well.", "unsupported"),
            ("A node is configured with `nodeTurbo(9)` on any machine.", "invented-names"),
            ("A node is a machine that runs builds, one slot on a node. " * 9, "repeating"),
            ("  ", "engine-failed"),
        ],
    )
    def test_bad_answer_is_replaced_by_a_quotation(self, gateway, engine, said: str, flaw: str) -> None:
        engine.say = said
        response = gateway.ask(NODE)
        body = response.json()
        text = body["choices"][0]["message"]["content"]
        assert text.startswith("A node is any machine on which Jenkins can run a build.")
        assert said not in text or not said.strip()
        assert body["jeeves"]["rung"] == response.headers["x-jeeves-rung"] == "extractive"
        assert (body["jeeves"]["citations"] and flaw in body["jeeves"]["reasons"][0]) or not said.strip()

    def test_bad_stream_gets_a_quotation_after_it(self, gateway, engine) -> None:
        engine.say = "The moon orbits the earth once in a month, which sailors know well."
        _, events = gateway.listen(NODE)
        text = content_of(events)
        assert text.startswith("The moon") and "\n\n---\n\nThe sources do not support" in text
        assert "A node is any machine" in text
        last = events[-2]
        assert last["jeeves"]["grounded"] is False and last["jeeves"]["reasons"] == ["unsupported"]
        for annotation in last["choices"][0]["delta"]["annotations"]:
            cited = annotation["url_citation"]
            assert text[cited["start_index"] : cited["end_index"]] == f"[{cited['number']}]"

    @pytest.mark.parametrize(
        ("question", "reason"),
        [
            ("hello!", "small-talk"),
            ("How long do I boil an egg for breakfast?", "weak-evidence"),
            ("What is the default of `maxBuildCost`?", "unknown-identifier"),
        ],
    )
    def test_refuses_without_evidence(self, gateway, engine, question: str, reason: str) -> None:
        body = gateway.ask(question).json()
        assert body["jeeves"]["refused"] is True and body["jeeves"]["reasons"] == [reason]
        assert body["jeeves"]["citations"] == [] and engine.requests == []
        text = body["choices"][0]["message"]["content"]
        if reason == "unknown-identifier":
            assert "`maxBuildCost` does not occur in the sources." in text
        if reason != "small-talk":
            assert "6 sections of 5 documents" in text

    def test_models_own_refusal_is_a_refusal(self, gateway, engine) -> None:
        engine.say = "I could not find this in the Jenkins documentation that I searched."
        for body in (gateway.ask(WEAK).json(), gateway.listen(WEAK)[1][-2]):
            assert body["jeeves"]["refused"] is True and body["jeeves"]["citations"] == []

    def test_models_refusal_is_overruled_by_strong_evidence(self, gateway, engine) -> None:
        engine.say = "I could not find this in the Jenkins documentation that I searched."
        text, extension = gateway.answer(NODE)
        response, events = gateway.listen(NODE)
        streamed = "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1] if event["choices"])
        for said in (text, streamed):
            assert "A node is any machine" in said and "could not find" not in said
        assert response.headers["x-jeeves-rung"] == extension["rung"] == "extractive"
        assert extension["citations"] and not extension["refused"]

    def test_made_up_syntax_is_not_explained_by_the_model(self, gateway, engine) -> None:
        engine.say = "The step sets two variables when the binding was skipped."
        for body in (gateway.ask(MADE_UP).json(), gateway.listen(MADE_UP)[1][-2]):
            assert body["jeeves"]["rung"] == "extractive" and body["jeeves"]["reasons"] == ["made-up-syntax"]
        text, extension = gateway.answer(MADE_UP)
        assert text.startswith(
            "`withCredentials` has no parameter `usernamePassword` that I know of. It takes `bindings`."
        )
        assert "`usernameVariable`" in text and extension["citations"] and engine.requests == []

    def test_retrieval_can_be_switched_off(self, gateway, engine) -> None:
        engine.say = "Anything at all."
        body = gateway.ask("Tell me a story", jeeves={"retrieval": False}).json()
        assert body["choices"][0]["message"]["content"] == "Anything at all."
        assert body["jeeves"]["rung"] == "reduced" and body["jeeves"]["grounded"] is None
        assert engine.requests[-1]["messages"][-1]["content"] == "Tell me a story"


class TestLadder:
    @pytest.mark.parametrize("behave", ["refuse", "hang"])
    def test_failure_before_the_first_token_moves_down(self, start_gateway, engine, behave: str) -> None:
        engine.behave = behave
        with start_gateway(gateway_first_token_seconds_max=0.5) as client:
            for response in (client.ask(NODE), client.listen(NODE)[0]):
                assert response.status_code == 200
                assert response.headers["x-jeeves-rung"] == "extractive"

    def test_failure_after_the_first_token_ends_a_stream_with_an_error(self, gateway, engine) -> None:
        engine.behave = "die"
        _, events = gateway.listen(NODE)
        assert events[-1]["error"]["code"] == "engine_failed"
        assert "[DONE]" not in events
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "extractive"

    def test_breaker_stops_asking_and_an_earlier_answer_is_found(self, gateway, engine, wait_for) -> None:
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "full"
        engine.behave = "refuse"
        rungs = [gateway.ask(NODE).json()["jeeves"]["rung"] for _ in range(6)]
        assert rungs == ["cached"] * 6
        assert len(engine.requests) == 1 + 3
        assert gateway.get("/v1/admin/status").json()["breaker"] == "open"
        engine.behave = "well"
        wait_for(lambda: gateway.get("/v1/admin/status").json()["breaker"] == "half-open")
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "full"
        assert gateway.get("/v1/admin/status").json()["breaker"] == "closed"

    def test_client_may_refuse_a_fallback(self, gateway, engine) -> None:
        engine.behave = "refuse"
        response = gateway.ask(NODE, jeeves={"fallback": False})
        assert response.status_code == 502 and response.json()["error"]["code"] == "engine_failed"

    def test_no_index_is_unavailable(self, start_gateway) -> None:
        with start_gateway(serve_index=False) as client:
            response = client.ask(NODE)
            assert response.status_code == 503 and int(response.headers["retry-after"]) > 0
            assert response.headers["x-jeeves-rung"] == "unavailable"
            assert "index" in client.get("/readyz").json()["missing"]

    def test_pinned_rung(self, gateway, engine) -> None:
        pin = {"rung": "extractive", "reason": "drill", "until": "2999-01-01T00:00:00Z"}
        gateway.put("/v1/admin/rung", json=pin).raise_for_status()
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "extractive"
        assert engine.requests == []
        gateway.put("/v1/admin/rung", json={**pin, "rung": "unavailable"}).raise_for_status()
        assert gateway.ask(NODE).status_code == 503
        gateway.delete("/v1/admin/rung").raise_for_status()
        assert gateway.ask(NODE).json()["jeeves"]["rung"] == "full"
        actions = [row["action"] for row in gateway.get("/v1/admin/audit").json()]
        assert actions[:3] == ["rung-released", "rung-pinned", "rung-pinned"]


class TestAdmission:
    def test_a_client_that_leaves_frees_its_slot(self, start_gateway, engine, wait_for) -> None:
        engine.behave = "hang"
        with start_gateway(gateway_slots=1) as client:
            for streaming in (True, False):
                left = engine.aborted
                with httpx.Client(base_url=client.base_url) as short, pytest.raises(httpx.ReadTimeout):
                    short.post(
                        "/v1/chat/completions",
                        json={"messages": [{"role": "user", "content": NODE}], "stream": streaming},
                        timeout=0.5,
                    )
                wait_for(lambda left=left: engine.aborted > left, 2)
                assert client.get("/v1/admin/status").json()["queue"]["running"] == 0
            engine.behave = "well"
            assert client.ask(NODE).json()["jeeves"]["rung"] == "full"

    def test_leaving_in_the_middle_of_a_stream(self, gateway, engine, wait_for) -> None:
        engine.pause_seconds = 0.3
        body = {"messages": [{"role": "user", "content": NODE}], "stream": True}
        with gateway.stream("POST", "/v1/chat/completions", json=body) as response:
            next(response.iter_lines())
        wait_for(lambda: engine.aborted == 1, 2)

    def test_a_full_queue_moves_down_or_is_refused(self, start_gateway, engine, wait_for) -> None:
        engine.pause_seconds = 0.15
        with start_gateway(gateway_slots=1, gateway_queue_waiting_max=0) as client:
            busy = threading.Thread(target=client.ask, args=(NODE,))
            busy.start()
            wait_for(lambda: engine.running == 1)
            quick = time.perf_counter()
            moved = client.ask(NODE).json()["jeeves"]
            assert (moved["rung"], moved["reasons"]) == ("extractive", ["overloaded"])
            refused = client.ask(NODE, jeeves={"fallback": False})
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
            assert time.perf_counter() - quick < 1
            busy.join()

    def test_slots_bound_the_engine(self, start_gateway, engine) -> None:
        engine.pause_seconds = 0.01
        with start_gateway(gateway_slots=2, gateway_queue_waiting_max=50) as client:
            threads = [threading.Thread(target=client.ask, args=(NODE,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(engine.requests) == 8 and engine.most_running == 2

    def test_rate_limit(self, start_gateway) -> None:
        with start_gateway(gateway_rate_limit="2/minute") as client:
            assert [client.ask(NODE).status_code for _ in range(3)] == [200, 200, 429]
            refused = client.ask(NODE)
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert 'jeeves_gateway_refusals_total{reason="rate-limited"} 2.0' in client.get("/metrics").text


class TestKeys:
    def test_scopes_and_revocation(self, gateway) -> None:
        made = gateway.post("/v1/admin/keys", json={"name": "team", "scopes": ["chat"]}).json()
        # A forwarded request is not a local one: it needs a key.
        headers = {"X-Forwarded-For": "203.0.113.9"}
        assert gateway.get("/v1/models", headers=headers).status_code == 401
        headers["Authorization"] = f"Bearer {made['key']}"
        assert gateway.get("/v1/models", headers=headers).status_code == 200
        assert gateway.get("/v1/admin/keys", headers=headers).status_code == 403
        assert made["key"] not in gateway.get("/v1/admin/keys").text
        gateway.delete(f"/v1/admin/keys/{made['id']}").raise_for_status()
        assert gateway.get("/v1/models", headers=headers).status_code == 401

    def test_bootstrap_key(self, start_gateway) -> None:
        with start_gateway(admin_key="0123456789abcdef0123") as client:
            headers = {"X-Forwarded-For": "203.0.113.9", "Authorization": "Bearer 0123456789abcdef0123"}
            assert client.get("/v1/admin/keys", headers=headers).status_code == 200

    @pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
    def test_web_pages_of_others_are_not_local_users(self, gateway, headers: dict[str, str]) -> None:
        assert gateway.get("/v1/models", headers=headers).status_code == 401


class TestPage:
    def test_page_has_a_strict_policy_and_no_inline_code(self, gateway) -> None:
        page = gateway.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "style=" not in page.text and "onclick" not in page.text
        for path in (
            "chat.js",
            "chat.css",
            "texts.js",
            "vendor/marked-18.2.1.umd.js",
            "vendor/dompurify-3.4.18.min.js",
        ):
            assert f"/page/{path}" in page.text
            assert gateway.get(f"/page/{path}").headers["content-security-policy"] == policy
