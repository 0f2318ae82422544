"""The gateway's application: settings in, routes out."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from jeeves_gateway.admin import admin_router, lineage_router
from jeeves_gateway.admin_limits import limits_router
from jeeves_gateway.admission import Admission
from jeeves_gateway.answering import Answerer
from jeeves_gateway.bodies import BodyBounds
from jeeves_gateway.budgets import Budgets, BudgetStore, KeyLimits
from jeeves_gateway.chat import chat_router
from jeeves_gateway.conversation_routes import conversation_router
from jeeves_gateway.conversations import Conversations
from jeeves_gateway.diagnosis.builds import BuildLogs
from jeeves_gateway.diagnosis.routes import DIAGNOSE_BYTES_MAX, diagnose_router
from jeeves_gateway.direct import DirectRoutes
from jeeves_gateway.embeddings import embeddings_router
from jeeves_gateway.engines import ExternalEngine, LocalEngine
from jeeves_gateway.errors import Overloaded
from jeeves_gateway.features import FeatureSwitches
from jeeves_gateway.feedback import Feedback, RecentAnswers
from jeeves_gateway.feedback_routes import feedback_router
from jeeves_gateway.hygiene import PromptGuard
from jeeves_gateway.in_use import make_use
from jeeves_gateway.keys import Doorkeeper
from jeeves_gateway.ladder import STEPS, Ladder, Pressure, free_memory_share
from jeeves_gateway.limits import RequestLimits
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.page_routes import add_page
from jeeves_gateway.parts import Parts
from jeeves_gateway.protocol import BoundedHttp
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.retraining import RetrainingWatch, keep_looking, make_trigger
from jeeves_gateway.retrieval import Library, OpenIndex
from jeeves_gateway.serving import ModelRoom
from jeeves_gateway.settings import GatewaySettings
from jeeves_gateway.switches import RungSwitch
from jeeves_gateway.upstream import Endpoint, Upstream
from jeeves_gateway.write_behind import WriteBehind
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.requests import ServedModel, ServeIndexRequest
from jeeves_shared.engine.gguf import GgufMetadata
from jeeves_shared.engine.spec import EngineSpec
from jeeves_shared.errors import JeevesError
from jeeves_shared.jobs.store import open_database
from jeeves_shared.search.reader import SearchIndex
from jeeves_shared.service import create_service, run_service

logger = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 3600.0
_PRESSURE_SECONDS = 0.5
_WITHOUT_ENGINE_MAX = 32
"""Chat requests beyond slots and queue that may be inside at the same time: read, refused or answered by quotation."""
_SHED_RETRY_SECONDS = 2


def create_app(settings: GatewaySettings, open_index: OpenIndex = SearchIndex.open) -> FastAPI:
    """Build the gateway.

    Args:
        settings: everything that can be configured.
        open_index: opens a search index file; tests may give their own.
    """
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    parts = _build_parts(settings, open_index, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await _restore(parts)
        tasks = [
            asyncio.create_task(_keep_house(parts, settings)),
            asyncio.create_task(_watch_pressure(parts)),
            asyncio.create_task(keep_looking(parts.retraining, settings.gateway_retraining_look_seconds)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _close(parts)

    async def engine_missing() -> str | None:
        return parts.room.problem or None

    async def index_missing() -> str | None:
        return None if parts.library.manifest else "no search index is served: PUT /v1/admin/index"

    chat, completions = chat_router(parts)
    metrics.queue_waiting.set_function(lambda: float(parts.admission.waiting))
    app = create_service(
        "gateway",
        [
            chat,
            diagnose_router(parts),
            conversation_router(parts),
            feedback_router(parts),
            embeddings_router(parts),
            lineage_router(parts),
            admin_router(parts),
            limits_router(parts),
        ],
        lifespan=lifespan,
        readiness={"engine": engine_missing, "index": index_missing},
        registry=registry,
    )
    app.state.parts = parts
    # The last is the innermost.
    app.user_middleware.append(
        Middleware(
            BodyBounds,
            longer={"/v1/diagnose": DIAGNOSE_BYTES_MAX},
            silence_seconds=settings.gateway_body_silence_seconds_max,
        )
    )
    app.user_middleware.append(
        Middleware(
            DirectRoutes,
            routes={("POST", completions.path): completions},
            inside_max=settings.gateway_slots + settings.gateway_queue_waiting_max + _WITHOUT_ENGINE_MAX,
            overloaded=lambda: _shed(metrics),
        )
    )
    add_page(app)
    return app


def _build_parts(settings: GatewaySettings, open_index: OpenIndex, metrics: GatewayMetrics) -> Parts:
    store = ArtifactStore(settings.store(), settings.data_dir / "gateway" / "artifacts")
    database = open_database(settings.database("gateway"))
    record, budget_store = GatewayRecord(database), BudgetStore(database)
    behind = WriteBehind(record, budget_store, metrics)
    budgets = Budgets(
        budget_store, behind, _default_limits(settings), metrics, make_use(settings.gateway_rate_limit_storage, metrics)
    )
    feedback = Feedback(database)
    features = FeatureSwitches(record, lambda: datetime.now(UTC))
    upstream = Upstream(settings.gateway_first_token_seconds_max, settings.gateway_token_gap_seconds_max)
    library = Library(store, open_index, metrics)
    admission = Admission(
        settings.gateway_slots, settings.gateway_queue_waiting_max, settings.gateway_queue_seconds_max
    )
    ladder = Ladder(time.monotonic)
    switch = RungSwitch(record, lambda: datetime.now(UTC))
    room = _model_room(settings, store, record, upstream, metrics)
    # Asked for when it is scraped: an old engine that ends after a swap must not say that the new one is down.
    metrics.engine_up.set_function(lambda: float(room.engine is not None and room.engine.ready))
    return Parts(
        record=record,
        behind=behind,
        doorkeeper=Doorkeeper(record, settings.bootstrap_key, anonymous_on_loopback=settings.loopback),
        limits=RequestLimits(settings.gateway_rate_limit, settings.gateway_rate_limit_storage, metrics),
        library=library,
        room=room,
        admission=admission,
        ladder=ladder,
        switch=switch,
        answerer=Answerer(
            library=library,
            room=room,
            admission=admission,
            ladder=ladder,
            switch=switch,
            features=features,
            metrics=metrics,
            answer_tokens_max=settings.gateway_answer_tokens_max,
            quote_sources=settings.gateway_quote_sources,
            history_exchanges=settings.gateway_conversation_exchanges,
            guard=PromptGuard(canary.get_secret_value() if (canary := settings.gateway_prompt_canary) else ""),
        ),
        upstream=upstream,
        build_logs=BuildLogs(
            settings.gateway_jenkins_url, settings.gateway_jenkins_user, settings.gateway_jenkins_token
        ),
        conversations=Conversations(database),
        feedback=feedback,
        recent=RecentAnswers(),
        retraining=_retraining_watch(settings, feedback, record),
        history_exchanges=settings.gateway_conversation_exchanges,
        budgets=budgets,
        budget_store=budget_store,
        features=features,
        metrics=metrics,
        started_at=int(time.time()),
    )


def _model_room(
    settings: GatewaySettings, store: ArtifactStore, record: GatewayRecord, upstream: Upstream, metrics: GatewayMetrics
) -> ModelRoom:
    return ModelRoom(
        store=store,
        record=record,
        upstream=upstream,
        base_model=settings.gateway_base_model,
        make_spec=lambda path, metadata, name: _spec(settings, path, metadata, name),
        make_engine=lambda model, spec: LocalEngine(
            model, spec, upstream=upstream, clock=time.monotonic, metrics=metrics
        ),
        metrics=metrics,
        drain_seconds=settings.drain_seconds,
        external=_external(settings, upstream) if settings.gateway_engine_url else None,
    )


def _retraining_watch(settings: GatewaySettings, feedback: Feedback, record: GatewayRecord) -> RetrainingWatch:
    return RetrainingWatch(
        feedback,
        record,
        make_trigger(settings),
        accepted_min=settings.gateway_retraining_feedback,
        window=settings.gateway_retraining_ratings,
        bad_share_max=settings.gateway_retraining_bad_share,
    )


def _default_limits(settings: GatewaySettings) -> KeyLimits:
    return KeyLimits(
        tokens_per_minute=settings.gateway_tokens_per_minute or None,
        tokens_per_day=settings.gateway_tokens_per_day or None,
        concurrent=settings.gateway_concurrent or None,
    )


def _spec(settings: GatewaySettings, path: Path, metadata: GgufMetadata, name: str) -> EngineSpec:
    trained_for = metadata.context_tokens or settings.gateway_context_tokens
    return EngineSpec(
        gguf_path=path,
        alias=name.replace(",", "-"),
        log_path=settings.data_dir / "gateway" / "engine.log",
        slots=settings.gateway_slots,
        context_tokens_per_slot=min(settings.gateway_context_tokens, trained_for),
        threads=settings.gateway_threads,
        threads_batch=settings.gateway_prompt_threads,
        copies_slots=True,
    )


def _external(settings: GatewaySettings, upstream: Upstream) -> ExternalEngine:
    name = settings.gateway_engine_model
    key = settings.gateway_engine_key
    return ExternalEngine(
        ServedModel(id=name, name=name, version=0, quantization="external", sha256="", state="starting"),
        Endpoint(
            f"{settings.gateway_engine_url.rstrip('/')}/chat/completions",
            {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {},
            name,
            pooled=True,
        ),
        upstream=upstream,
        clock=time.monotonic,
    )


async def _restore(parts: Parts) -> None:
    """Serve again what was served before; a part that cannot be had is reported by `/readyz`, not a reason to die."""
    await asyncio.to_thread(parts.switch.restore)
    await asyncio.to_thread(parts.features.restore)
    stored = await asyncio.to_thread(parts.record.served, "index")
    if stored is not None:
        try:
            await parts.library.serve(ServeIndexRequest.model_validate(stored).index)
        except JeevesError as exc:
            logger.error("index cannot be served: %s", exc.detail, extra={"code": exc.code})
    await parts.room.restore()


async def _close(parts: Parts) -> None:
    await parts.room.stop()
    await parts.upstream.close()
    await parts.build_logs.close()
    parts.library.close()
    await parts.behind.flush()
    await parts.budgets.close()
    parts.record.close()


async def _keep_house(parts: Parts, settings: GatewaySettings) -> None:
    while True:
        await asyncio.to_thread(parts.record.forget_responses, settings.gateway_lineage_days)
        await asyncio.to_thread(parts.conversations.forget, settings.gateway_conversation_days)
        await asyncio.to_thread(parts.budget_store.forget, settings.gateway_lineage_days)
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)


async def _watch_pressure(parts: Parts) -> None:
    while True:
        # One small file of the kernel: no thread is worth it.
        step = parts.ladder.observe(Pressure(parts.admission.queue_share, free_memory_share()))
        parts.metrics.ladder_step.set(STEPS.index(step))
        await asyncio.sleep(_PRESSURE_SECONDS)


def _shed(metrics: GatewayMetrics) -> Overloaded:
    metrics.refusals.labels("overloaded").inc()
    return Overloaded("More requests than can be looked at: try again in a moment.", _SHED_RETRY_SECONDS)


def _build_for_long(settings: GatewaySettings) -> FastAPI:
    app = create_app(settings)
    # Modules, classes and routes live as long as the process: the garbage collector need not look at them again.
    gc.collect()
    gc.freeze()
    return app


def main() -> None:
    """Run the gateway until SIGTERM or SIGINT; running streams may finish within the drain time."""
    run_service("gateway", GatewaySettings, _build_for_long, BoundedHttp)
