"""Four services as the command line sees them; jobs, frame and contracts are the real ones."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry

from jeeves_shared.contracts.manifests import ModelManifest
from jeeves_shared.contracts.requests import (
    CollectionRequest,
    DatasetRequest,
    EvaluationRequest,
    IndexRequest,
    PromotionRequest,
    QuantizationRequest,
    RegisteredModel,
    ServedModel,
    ServeIndexRequest,
    ServeModelRequest,
    TrainingRequest,
)
from jeeves_shared.errors import Conflict
from jeeves_shared.jobs.service import JobServiceParts, create_job_service
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import create_service, serve
from jeeves_shared.settings import ServiceSettings, load_settings


def serve_collector() -> None:
    settings = load_settings(ServiceSettings)
    kinds = [(JobKind("collections", "stand_in_jobs:collect", "in-flight"), CollectionRequest)]
    serve(create_job_service("collector", settings, kinds), "collector", settings)


def serve_curator() -> None:
    settings = load_settings(ServiceSettings)
    kinds = [
        (JobKind("indexes", "stand_in_jobs:index", "always"), IndexRequest),
        (JobKind("datasets", "stand_in_jobs:dataset", "always"), DatasetRequest),
    ]
    serve(create_job_service("curator", settings, kinds), "curator", settings)


def models_router(settings: ServiceSettings, parts: JobServiceParts) -> APIRouter:
    router = APIRouter(prefix="/v1/models")
    note = settings.data_dir / "trainer" / "champion"

    @router.get("")
    async def index() -> list[RegisteredModel]:
        champion = note.read_text() if note.exists() else ""
        return [
            RegisteredModel(manifest=manifest, aliases=("champion",) if manifest.id == champion else ())
            for manifest in parts.store.list_manifests(ModelManifest, "model")
        ]

    @router.post("/{model_id}/promote")
    async def promote(model_id: str, body: PromotionRequest) -> dict[str, str]:
        note.write_text(model_id)
        return {"evaluation_id": body.evaluation_id}

    return router


def serve_trainer() -> None:
    settings = load_settings(ServiceSettings)
    kinds = [
        (JobKind("trainings", "stand_in_jobs:training", "always"), TrainingRequest),
        (JobKind("quantizations", "stand_in_jobs:quantization", "always"), QuantizationRequest),
        (JobKind("evaluations", "stand_in_jobs:evaluation", "always"), EvaluationRequest),
    ]

    def routers(parts: JobServiceParts) -> Sequence[APIRouter]:
        return (models_router(settings, parts),)

    serve(create_job_service("trainer", settings, kinds, routers), "trainer", settings)


CITATION = {
    "number": 1,
    "source_path": "starter-pack/credentials/x.adoc",
    "url": "https://x/y",
    "title": "Using credentials",
    "section": "Handling secrets",
}


def completion(question: str, content: str) -> dict[str, Any]:
    known = "weather" not in question
    return {
        "id": "response-1",
        "model": "jeeves-test",
        "choices": [{"message": {"role": "assistant", "content": content}}],
        "jeeves": {
            "citations": [CITATION] if known else [],
            "rung": "full",
            "response_id": "response-1",
            "refused": not known,
            "reasons": [],
        },
    }


def gateway_router() -> APIRouter:
    router = APIRouter(prefix="/v1")
    state: dict[str, Any] = {"rung": None, "index": None, "keys": []}

    @router.post("/chat/completions", response_model=None)
    async def chat(body: dict[str, Any]) -> Response | dict[str, Any]:
        question = body["messages"][-1]["content"]
        if question == "overload":
            raise Conflict("Too many questions at once: try again.")
        content = "凭据: bind it. [1]" if "weather" not in question else "I could not find this."
        if not body.get("stream"):
            return completion(question, content)

        async def events() -> AsyncIterator[str]:
            for word in content.split(" "):
                yield f"data: {json.dumps({'choices': [{'delta': {'content': word + ' '}}]})}\n\n"
            if question == "break":
                yield f"data: {json.dumps({'error': {'message': 'The engine ended.'}})}\n\n"
                return
            last = completion(question, content)
            yield f"data: {json.dumps({**last, 'choices': []})}\n\ndata: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @router.put("/admin/index")
    async def serve_index(body: ServeIndexRequest) -> dict[str, str]:
        state["index"] = body.index.id
        return {"index": body.index.id}

    @router.put("/admin/models/champion")
    async def serve_model(body: ServeModelRequest) -> ServedModel:
        file = body.model.files[0]
        return ServedModel(
            id=body.model.id,
            name=body.model.name,
            version=body.model.version,
            quantization=body.quantization,
            sha256=file.artifact.sha256,
            state="ready",
        )

    @router.get("/admin/status")
    async def status() -> dict[str, Any]:
        return state

    @router.put("/admin/rung")
    async def pin(body: dict[str, str]) -> dict[str, str]:
        state["rung"] = body["rung"]
        return body

    @router.delete("/admin/rung", status_code=204)
    async def release() -> None:
        state["rung"] = None

    return router


def serve_gateway() -> None:
    settings = load_settings(ServiceSettings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_service("gateway", [gateway_router()], lifespan=lifespan, readiness={}, registry=CollectorRegistry())
    serve(app, "gateway", settings)
