"""Conversations, feedback and lineage, over real HTTP and SQLite: each key sees its own, and only that."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from jeeves_gateway import conversations as kept
from jeeves_gateway.conversations import Conversations
from jeeves_gateway.history import search_text
from jeeves_gateway.openai_form import ChatMessage
from jeeves_shared.contracts.feedback import FeedbackItem
from jeeves_shared.jobs.store import open_database

NODE = "What is a node?"
FAR = {"X-Forwarded-For": "203.0.113.9"}


def key(gateway, *scopes: str) -> dict[str, str]:
    made = gateway.post("/v1/admin/keys", json={"name": "k", "scopes": scopes or ["chat", "feedback"]}).json()
    return {**FAR, "Authorization": f"Bearer {made['key']}", "id": made["id"]}


def ask(gateway, headers: dict[str, str], question: str, **options: object) -> dict:
    body = {"messages": [{"role": "user", "content": question}], "jeeves": options}
    return gateway.post("/v1/chat/completions", json=body, headers=headers).raise_for_status().json()


class TestConversations:
    def test_life_of_a_conversation(self, gateway, engine) -> None:
        mine = key(gateway)
        made = gateway.post("/v1/conversations", json={}, headers=mine).json()
        ask(gateway, mine, NODE, conversation=made["id"])
        second = ask(gateway, mine, "And what is an executor of a node?", conversation=made["id"])
        assert second["jeeves"]["history"] == {"used": 2, "dropped": 0}
        prompt = engine.requests[-1]["messages"]
        assert [message["role"] for message in prompt] == ["system", "user", "assistant", "user"]
        assert prompt[1]["content"] == NODE
        whole = gateway.get(f"/v1/conversations/{made['id']}", headers=mine).json()
        assert [said["role"] for said in whole["messages"]] == ["user", "assistant"] * 2
        assert whole["conversation"]["title"] == NODE
        assert whole["messages"][-1]["response_id"] == second["id"]
        renamed = gateway.patch(f"/v1/conversations/{made['id']}", json={"title": "Nodes"}, headers=mine).json()
        assert [c["title"] for c in gateway.get("/v1/conversations", headers=mine).json()] == [renamed["title"]]
        gateway.delete(f"/v1/conversations/{made['id']}", headers=mine).raise_for_status()
        assert gateway.get(f"/v1/conversations/{made['id']}", headers=mine).status_code == 404

    def test_streams_are_kept_and_old_exchanges_are_dropped_visibly(self, start_gateway, engine) -> None:
        with start_gateway(gateway_conversation_exchanges=2) as gateway:
            made = gateway.post("/v1/conversations", json={"title": "t"}).json()
            for _ in range(4):
                _, events = gateway.listen(NODE, jeeves={"conversation": made["id"]})
            assert events[-2]["jeeves"]["history"] == {"used": 4, "dropped": 2}
            assert len(engine.requests[-1]["messages"]) == 1 + 4 + 1

    def test_others_see_nothing_of_it(self, gateway) -> None:
        mine, other = key(gateway), key(gateway)
        made = gateway.post("/v1/conversations", json={}, headers=mine).json()
        path = f"/v1/conversations/{made['id']}"
        assert gateway.get("/v1/conversations", headers=other).json() == []
        for response in (
            gateway.get(path, headers=other),
            gateway.patch(path, json={"title": "x"}, headers=other),
            gateway.delete(path, headers=other),
        ):
            assert response.status_code == 404
        body = {"messages": [{"role": "user", "content": NODE}], "jeeves": {"conversation": made["id"]}}
        assert gateway.post("/v1/chat/completions", json=body, headers=other).status_code == 404

    def test_erasure_takes_all_of_a_key_and_nothing_else(self, gateway) -> None:
        mine, other = key(gateway), key(gateway)
        for headers in (mine, other):
            gateway.post("/v1/conversations", json={}, headers=headers).raise_for_status()
            answer = ask(gateway, headers, NODE)
            feedback = {"response_id": answer["id"], "rating": "up"}
            gateway.post("/v1/feedback", json=feedback, headers=headers).raise_for_status()
        assert gateway.delete("/v1/conversations", headers=mine).json() == {"conversations": 1, "feedback": 1}
        assert len(gateway.get("/v1/conversations", headers=other).json()) == 1
        erased = gateway.delete(f"/v1/admin/keys/{other['id']}/data").json()
        assert erased == {"conversations": 1, "feedback": 1}
        assert gateway.get("/v1/admin/audit").json()[0]["action"] == "data-erased"

    def test_retention(self, tmp_path) -> None:
        database = open_database(f"sqlite:///{tmp_path / 's.sqlite'}")
        store = Conversations(database)
        old, new = store.begin("a", "old"), store.begin("a", "new")
        table = kept._conversations
        with database.begin() as connection:
            past = datetime.now(UTC) - timedelta(days=31)
            connection.execute(update(table).where(table.c.id == old.id).values(updated_at=past))
        assert store.forget(30) == 1
        assert [found.id for found in store.listed("a")] == [new.id]
        database.dispose()

    @pytest.mark.parametrize(
        ("question", "before"),
        [("And in a folder?", True), ("How do I undo it?", True), ("What about the agent of my Windows builds?", True),
         ("How do I back up the secrets of JENKINS_HOME?", False), ("那凭据呢", True)],
    )  # fmt: skip
    def test_follow_ups_become_standalone(self, question: str, before: bool) -> None:
        def said(role: str, content: str) -> ChatMessage:
            return ChatMessage.model_validate({"role": role, "content": content})

        first = "How do I bind a secret file with withCredentials?"
        messages = [said("user", first), said("assistant", "…"), said("user", "And then?"), said("assistant", "…")]
        text = search_text([*messages, said("user", question)])
        assert text == (f"{first}\n{question}" if before else question)


class TestFeedback:
    def test_from_rating_to_export(self, gateway) -> None:
        mine = key(gateway)
        answer = ask(gateway, mine, NODE)
        given = {
            "response_id": answer["id"],
            "rating": "down",
            "reason": "ask ada@example.org, password=s3cr3tX",
            "outcome": "the build went green",
        }
        stored = gateway.post("/v1/feedback", json=given, headers=mine).raise_for_status().json()
        assert stored["question"] == NODE and stored["state"] == "pending"
        assert "s3cr3tX" not in stored["reason"] and "ada@example.org" not in stored["reason"]
        review = f"/v1/admin/feedback/{stored['id']}/review"
        assert gateway.post(review, json={"accept": True}).status_code == 409, "bad answers need a correction"
        corrected = {"accept": True, "corrected_answer": "A machine."}
        assert gateway.post(review, json=corrected).json()["reviewed_by"] == "anonymous"
        assert gateway.get("/v1/admin/feedback", params={"state": "pending"}).json() == []
        (line,) = gateway.get("/v1/admin/feedback/export").text.splitlines()
        item = FeedbackItem.model_validate_json(line)
        assert (item.question, item.corrected_answer, item.rating) == (NODE, "A machine.", "down")
        assert gateway.post("/v1/feedback", json=given, headers=mine).status_code == 409
        assert 'jeeves_gateway_feedback_total{rating="down"} 1.0' in gateway.get("/metrics").text

    def test_only_on_own_answers(self, gateway) -> None:
        mine, other = key(gateway), key(gateway)
        answer = ask(gateway, mine, NODE)
        given = {"response_id": answer["id"], "rating": "up", "question": "q", "answer": "a"}
        assert gateway.post("/v1/feedback", json=given, headers=other).status_code == 404
        assert gateway.post("/v1/feedback", json=given | {"response_id": "chatcmpl-0"}, headers=mine).status_code == 404
        assert gateway.get(f"/v1/responses/{answer['id']}/lineage", headers=other).status_code == 404
        lineage = gateway.get(f"/v1/responses/{answer['id']}/lineage", headers=mine).json()
        assert lineage["rung"] == "full" and "owner" not in lineage

    def test_an_answer_that_was_forgotten_is_sent_along(self, start_gateway) -> None:
        with start_gateway() as gateway:
            answer = ask(gateway, {}, NODE)
        with start_gateway() as gateway:
            given = {"response_id": answer["id"], "rating": "up"}
            assert gateway.post("/v1/feedback", json=given).status_code == 409
            given |= {"question": NODE, "answer": "A machine."}
            assert gateway.post("/v1/feedback", json=given).status_code == 201
