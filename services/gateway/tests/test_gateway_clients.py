"""Clients that people use, as they come from their registries: OpenAI's for JavaScript, and LangChain."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

NODE = "What is a node?"
BEGINNING = "A node is any machine on which Jenkins can run a build. [1]\n\nFrom the source [1]:\n\nA node is"
CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "jeeves" / "clients"
FAR = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """A folder with the locked packages, fetched once for each lock file."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    lock = CLIENTS / "package-lock.json"
    folder = CACHE / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = CACHE / f"{folder.name}.{os.getpid()}"
        unfinished.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(CLIENTS / name, unfinished)
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=unfinished, check=True, timeout=120
        )
        unfinished.rename(folder)
    return folder


def run_node(folder: Path, *arguments: str) -> dict[str, Any]:
    command = ["node", str(CLIENTS / "openai_client.mjs"), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def limited_key(gateway) -> str:
    """A key for one request a minute."""
    made = gateway.post("/v1/admin/keys", json={"name": "k", "scopes": ["chat"]}).raise_for_status().json()
    gateway.put(f"/v1/admin/keys/{made['id']}/limits", json={"requests_per_minute": 1}).raise_for_status()
    return str(made["key"])


class TestJavaScript:
    def test_chat_stream_embeddings_models_and_errors(self, gateway, node_modules: Path) -> None:
        seen = run_node(node_modules, f"{gateway.base_url}/v1", limited_key(gateway))
        assert "jeeves" in seen["models"]
        message = seen["whole"]["choices"][0]["message"]
        assert message["content"].startswith(BEGINNING)
        cited = message["annotations"][0]["url_citation"]
        assert (cited["url"], cited["title"]) == ("https://docs.example.org/agents", "Agents")
        assert message["content"][cited["start_index"] : cited["end_index"]] == "[1]"
        assert seen["whole"]["jeeves"]["grounded"] is True and seen["whole"]["usage"]["total_tokens"] > 0
        streamed = seen["streamed"]
        assert streamed["text"] == message["content"] and streamed["finishReason"] == "stop"
        assert streamed["annotations"][0]["url_citation"]["section"] == "Nodes and executors"
        assert len(set(streamed["ids"])) == 1 and streamed["usage"]["completion_tokens"] > 0
        assert len(seen["embedding"]) > 100 and any(seen["embedding"])
        assert seen["first"] is None
        refused = {name: (seen[name]["kind"], seen[name]["status"]) for name in seen if "kind" in (seen[name] or ())}
        assert refused == {
            "badRequest": ("BadRequestError", 400),
            "notFound": ("NotFoundError", 404),
            "unauthorized": ("AuthenticationError", 401),
            "rateLimited": ("RateLimitError", 429),
        }
        assert seen["badRequest"]["param"] == "n" and seen["rateLimited"]["code"] == "rate_limited"
        assert 1 <= int(seen["rateLimited"]["retryAfter"]) <= 60

    def test_a_stream_that_is_left_frees_the_engine(self, gateway, engine, node_modules: Path, wait_for) -> None:
        engine.pause_seconds = 0.5
        seen = run_node(node_modules, f"{gateway.base_url}/v1")
        assert seen["aborted"] and BEGINNING.startswith(seen["text"].strip())
        wait_for(lambda: engine.aborted == 1, 2)


class TestLangChain:
    @staticmethod
    def chat(gateway, **more: Any) -> ChatOpenAI:
        return ChatOpenAI(
            base_url=f"{gateway.base_url}/v1", model="jeeves", max_retries=0, **{"api_key": "any", **more}
        )

    def test_chat_stream_and_embeddings(self, gateway) -> None:
        model = self.chat(gateway, temperature=0)
        answer = model.invoke([("system", "Be brief."), ("human", NODE)])
        assert isinstance(answer.content, str) and answer.content.startswith(BEGINNING)
        assert answer.usage_metadata is not None and answer.usage_metadata["total_tokens"] > 0
        assert answer.response_metadata["finish_reason"] == "stop"
        assert "".join(str(chunk.content) for chunk in model.stream(NODE)) == answer.content
        embeddings = OpenAIEmbeddings(
            base_url=f"{gateway.base_url}/v1", api_key="any", model="jeeves", check_embedding_ctx_length=False
        )
        one, same = embeddings.embed_documents(["a build agent", "a build agent"])
        assert one == same and len(one) > 100 and embeddings.embed_query("a build agent") == one

    def test_errors_are_those_of_openai(self, gateway) -> None:
        with pytest.raises(openai.BadRequestError) as bad:
            self.chat(gateway, n=2).invoke(NODE)
        assert bad.value.param == "n"
        with pytest.raises(openai.AuthenticationError):
            self.chat(gateway, api_key="wrong", default_headers=FAR).invoke(NODE)
        limited = self.chat(gateway, api_key=limited_key(gateway), default_headers=FAR)
        limited.invoke(NODE)
        with pytest.raises(openai.RateLimitError) as refused:
            limited.invoke(NODE)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60

    def test_a_stream_that_is_left_frees_the_engine(self, gateway, engine, wait_for) -> None:
        engine.pause_seconds = 0.2
        stream = self.chat(gateway).stream(NODE)
        text = ""
        while not text:
            text += str(next(stream).content)
        stream.close()
        wait_for(lambda: engine.aborted == 1, 2)
