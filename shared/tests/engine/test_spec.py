"""The command line: nothing in it that this llama-server does not know, nothing missing that keeps it safe."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from jeeves_shared.engine.spec import EngineSpec
from jeeves_shared.errors import SettingsError

SpecMaker = Callable[..., EngineSpec]


@pytest.mark.parametrize("embeddings", [False, True])
def test_every_switch_is_in_the_help_of_this_build(engine_binary: Path, make_spec: SpecMaker, embeddings: bool) -> None:
    shown = subprocess.run([engine_binary, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
    known = {word.strip(",") for word in shown.split() if word.startswith("-")}
    spec = make_spec(embeddings=embeddings, pooling="mean" if embeddings else None)
    used = {word for word in spec.command_line(engine_binary, 1)[1:] if word.startswith("--")}
    assert used <= known, f"unknown to this build: {used - known}"


def test_safe_switches(make_spec: SpecMaker) -> None:
    line = make_spec(slots=4, context_tokens_per_slot=1000).command_line(Path("llama-server"), 4242)
    text = " ".join(line)
    assert line[0] == "llama-server"
    for wanted in (
        "--host 127.0.0.1 --port 4242", "--cache-ram 0", "--no-cache-idle-slots", "--no-kv-unified", "--parallel 4",
        "--ctx-size 4000", "--no-slots", "--no-ui", "--offline", "--jinja", "--metrics", "--cache-prompt",
    ):  # fmt: skip
        assert wanted in text
    assert "--embeddings" not in text and "--slot-save-path" not in text
    assert "--api-key" not in text


def test_every_mistake_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        EngineSpec(
            gguf_path=tmp_path, alias="a,b", log_path=tmp_path, slots=0, context_tokens_per_slot=1, threads=0,
            threads_batch=0, host="192.0.2.1", port=70000, api_key=SecretStr("two,keys"), log_level=9,
        )  # fmt: skip
    assert len(caught.value.errors) == 9
    assert "two,keys" not in str(caught.value)


def test_random_keys_and_environment(make_spec: SpecMaker) -> None:
    first, second = make_spec(), make_spec()
    assert first.api_key != second.api_key
    environment = first.environment({"PATH": "/bin", "LLAMA_ARG_UI": "1", "SECRET": "s", "OMP_WAIT_POLICY": "active"})
    key = first.api_key.get_secret_value()
    assert environment == {"PATH": "/bin", "OMP_WAIT_POLICY": "active", "LLAMA_API_KEY": key}
    assert first.environment({})["OMP_WAIT_POLICY"] == "passive"


def test_threads_of_prompts_and_copies(make_spec: SpecMaker) -> None:
    plain = " ".join(make_spec(threads=1).command_line(Path("/engine"), 4242))
    assert "--threads 1 --threads-batch 1" in plain
    text = " ".join(make_spec(threads=1, threads_batch=2, copies_slots=True).command_line(Path("/engine"), 4242))
    assert "--threads 1 --threads-batch 2" in text
    assert "--slot-save-path /proc/self/fd" in text
