# ruff: noqa: ASYNC220, ASYNC240  (files under /proc do not block)
"""One real llama-server: started, asked, killed, stopped, orphaned."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from jeeves_shared.engine.binary import BINARY_VARIABLE
from jeeves_shared.engine.errors import EngineBinaryMissing, EngineNotReady, EngineStartFailed
from jeeves_shared.engine.process import EngineProcess
from jeeves_shared.engine.spec import EngineSpec

SpecMaker = Callable[..., EngineSpec]
HTTP_OK, HTTP_UNAUTHORIZED, HTTP_NOT_FOUND, HTTP_NOT_IMPLEMENTED = 200, 401, 404, 501


async def ask(engine: EngineProcess, content: str, *, slot: int = -1, max_tokens: int = 8) -> dict[str, object]:
    body = {
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "id_slot": slot,
    }
    async with httpx.AsyncClient(base_url=engine.base_url, headers=engine.headers, timeout=60) as client:
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == HTTP_OK, response.text
    answer: dict[str, object] = response.json()
    return answer


async def wait_gone(pid: int, timeout_seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        await asyncio.sleep(0.05)
    return False


async def test_starts_answers_and_stops(engine_binary: Path, make_spec: SpecMaker) -> None:
    engine = EngineProcess(make_spec(), engine_binary)
    assert not engine.alive and engine.pid is None
    await engine.start()
    await engine.wait_ready(60)
    assert engine.alive and await engine.healthy()
    answer = await ask(engine, "Repeat the word hello.")
    assert answer["model"] == "small"
    assert "hello" in str(answer["choices"]).lower()
    await engine.stop()
    assert not engine.alive and not await engine.healthy()
    assert engine.exit_status == 0, "SIGTERM ends it in an orderly way"
    await engine.stop()  # twice is harmless


async def test_closed_doors(engine: EngineProcess) -> None:
    async with httpx.AsyncClient(base_url=engine.base_url) as stranger:
        assert (await stranger.get("/health")).status_code == HTTP_OK
        for path in ("/v1/models", "/metrics", "/props", "/slots"):
            assert (await stranger.get(path)).status_code == HTTP_UNAUTHORIZED, path
    async with httpx.AsyncClient(base_url=engine.base_url, headers=engine.headers) as client:
        assert (await client.get("/v1/models")).status_code == HTTP_OK
        metrics = await client.get("/metrics")
        assert metrics.status_code == HTTP_OK and "llamacpp:" in metrics.text
        assert (await client.get("/slots")).status_code == HTTP_NOT_IMPLEMENTED
        assert (await client.get("/")).status_code == HTTP_NOT_FOUND, "no web page"
        assert (await client.post("/props", json={})).status_code == HTTP_NOT_IMPLEMENTED
        assert (await client.get("/tools")).status_code != HTTP_OK


async def test_key_is_in_no_place_that_others_read(engine: EngineProcess) -> None:
    key = engine.spec.api_key.get_secret_value()
    command = Path(f"/proc/{engine.pid}/cmdline").read_bytes().decode()
    assert key not in command
    assert key not in repr(engine.spec) and key not in str(engine.spec)
    await ask(engine, "A sentence that is nobody's business: zanzibar-canary")
    log = engine.spec.log_path.read_text()
    assert key not in log and "zanzibar" not in log


async def test_environment_changes_no_switch(
    engine_binary: Path, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LLAMA_ARG_ENDPOINT_SLOTS": "1", "AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    async with EngineProcess(make_spec(), engine_binary) as engine:
        environment = Path(f"/proc/{engine.pid}/environ").read_bytes()
        assert b"LLAMA_ARG" not in environment and b"AIP_" not in environment


async def test_slot_keeps_its_prompt_and_slots_share_nothing(engine: EngineProcess) -> None:
    text = "List three colours. " * 12
    first = await ask(engine, text, slot=0)
    again = await ask(engine, text, slot=0)
    other = await ask(engine, text, slot=1)

    def cached(answer: dict[str, object]) -> int:
        timings = answer["timings"]
        assert isinstance(timings, dict)
        return int(timings["cache_n"])

    assert cached(first) == 0
    assert cached(again) > 40
    assert cached(other) == 0, "a slot must not see another slot's cache"


async def test_a_slot_is_copied_through_memory_that_goes_with_the_engine(
    engine_binary: Path, make_spec: SpecMaker
) -> None:
    async with (
        EngineProcess(make_spec(slots=2, copies_slots=True), engine_binary) as engine,
        httpx.AsyncClient(base_url=engine.base_url, headers=engine.headers, timeout=60) as client,
    ):
        file = engine.copy_file
        assert file is not None
        prompt = {"prompt": "Agents run builds. " * 20, "n_predict": 1, "temperature": 0}
        written = (await client.post("/completion", json=prompt | {"id_slot": 0})).json()
        assert written["timings"]["prompt_n"] > 50
        for slot, action in ((0, "save"), (1, "restore")):
            answer = await client.post(f"/slots/{slot}?action={action}", json={"filename": str(file)})
            assert answer.status_code == 200, answer.text
        assert os.fstat(file).st_size > 100_000
        assert os.fstat(file).st_mode & 0o777 == 0o600
        again = (await client.post("/completion", json=prompt | {"id_slot": 1})).json()
        assert again["timings"]["prompt_n"] == 1 and again["content"] == written["content"]
        engine.empty_copy_file()
        assert os.fstat(file).st_size == 0
        refused = await client.post("/slots/1?action=restore", json={"filename": str(file)})
        assert refused.status_code == 400, "what was forgotten cannot be had again"
    assert engine.copy_file is None


async def test_killed_engine_is_seen(engine: EngineProcess) -> None:
    assert engine.pid is not None
    exited = asyncio.create_task(engine.wait_exit())
    os.kill(engine.pid, signal.SIGKILL)
    assert await asyncio.wait_for(exited, 5) == -signal.SIGKILL
    assert not engine.alive and not await engine.healthy()
    with pytest.raises(EngineStartFailed, match="killed"):
        await engine.wait_ready(1)


async def test_hung_engine_is_killed_after_the_grace(engine: EngineProcess) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    for _ in range(20):  # a busy machine takes a moment to stop all threads
        if not await engine.healthy(0.2):
            break
    assert engine.alive and not await engine.healthy(0.2)
    await engine.stop(grace_seconds=0.3)
    assert engine.exit_status == -signal.SIGKILL


async def test_dies_with_its_parent(engine_binary: Path, small_model: Path, tmp_path: Path) -> None:
    program = """
import asyncio, sys, time
from pathlib import Path
from jeeves_shared.engine.process import EngineProcess
from jeeves_shared.engine.spec import EngineSpec
spec = EngineSpec(gguf_path=Path(sys.argv[1]), alias="small", log_path=Path(sys.argv[2]), context_tokens_per_slot=512)
engine = EngineProcess(spec, Path(sys.argv[3]))
asyncio.run(engine.start())
print(engine.pid, flush=True)
time.sleep(60)
"""
    arguments = [sys.executable, "-c", program, str(small_model), str(tmp_path / "engine.log"), str(engine_binary)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    assert await wait_gone(pid)


async def test_missing_binary(make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(BINARY_VARIABLE, str(tmp_path / "nothing"))
    engine = EngineProcess(make_spec())
    with pytest.raises(EngineBinaryMissing, match=BINARY_VARIABLE):
        await engine.start()
    assert not engine.alive


async def test_wrong_file_shows_the_end_of_the_log(engine_binary: Path, make_spec: SpecMaker, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"this is no model" * 100)
    with pytest.raises(EngineStartFailed) as caught:
        async with EngineProcess(make_spec(gguf_path=wrong), engine_binary):
            pass
    assert caught.value.exit_status == 1
    assert "magic" in caught.value.log_tail
    assert "magic" in str(caught.value)
    assert "magic" not in caught.value.problem().detail, "a client does not get the log"


async def test_log_tail_is_of_this_start_only(engine_binary: Path, make_spec: SpecMaker, tmp_path: Path) -> None:
    spec = make_spec(gguf_path=tmp_path / "wrong.gguf")
    spec.gguf_path.write_bytes(b"GGUF")
    spec.log_path.parent.mkdir()
    spec.log_path.write_text("yesterday's words\n")
    with pytest.raises(EngineStartFailed) as caught:
        async with EngineProcess(spec, engine_binary):
            pass
    assert caught.value.log_tail and "yesterday" not in caught.value.log_tail
    assert spec.log_path.read_text().startswith("yesterday")


async def test_missing_file_and_second_start(engine: EngineProcess, make_spec: SpecMaker, tmp_path: Path) -> None:
    with pytest.raises(EngineStartFailed, match="does not exist"):
        await EngineProcess(make_spec(gguf_path=tmp_path / "none.gguf"), engine.spec.gguf_path).start()
    with pytest.raises(EngineStartFailed, match="already"):
        await engine.start()


async def test_taken_port(engine: EngineProcess, engine_binary: Path, make_spec: SpecMaker) -> None:
    port = int(engine.base_url.rpartition(":")[2])
    second = EngineProcess(make_spec(port=port), engine_binary)
    await second.start()
    try:
        assert not await second.healthy(), "the first one answers there: not to be taken for the second"
        with pytest.raises(EngineStartFailed, match="taken"):
            await second.wait_ready(30)
    finally:
        await second.stop()


async def test_not_started_and_too_slow(engine_binary: Path, make_spec: SpecMaker) -> None:
    engine = EngineProcess(make_spec(), engine_binary)
    with pytest.raises(EngineNotReady, match="not started"):
        await engine.wait_ready(1)
    with pytest.raises(EngineNotReady, match="port"):
        _ = engine.base_url
    await engine.start()
    try:
        with pytest.raises(EngineNotReady, match="not ready within"):
            await engine.wait_ready(0)
        await engine.wait_ready(60)
    finally:
        await engine.stop()


async def test_long_log_is_moved_aside(engine_binary: Path, make_spec: SpecMaker) -> None:
    spec = make_spec()
    spec.log_path.parent.mkdir()
    spec.log_path.write_bytes(b"x" * (8 * 1024 * 1024 + 1))
    async with EngineProcess(spec, engine_binary):
        assert spec.log_path.stat().st_size < 100_000
        assert spec.log_path.with_name("engine.log.1").stat().st_size > 8 * 1024 * 1024


async def test_embeddings_of_texts_longer_than_a_default_batch(engine_binary: Path, make_spec: SpecMaker) -> None:
    spec = make_spec(embeddings=True, pooling="mean", context_tokens_per_slot=1024)
    async with (
        EngineProcess(spec, engine_binary) as engine,
        httpx.AsyncClient(base_url=engine.base_url, headers=engine.headers, timeout=60) as client,
    ):
        long_text = "pipeline stage agent label " * 180  # some 720 tokens; llama-server's default batch is 512
        response = await client.post("/v1/embeddings", json={"input": ["a short text", long_text]})
        assert response.status_code == HTTP_OK, response.text
        vectors = [item["embedding"] for item in response.json()["data"]]
        assert [len(vector) for vector in vectors] == [576, 576]
        assert all(abs(sum(x * x for x in vector) - 1) < 1e-3 for vector in vectors), "unit length"
        assert response.json()["usage"]["prompt_tokens"] > 600
