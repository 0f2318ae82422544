"""Routes of model versions and evaluation reports."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response
from fastapi.responses import HTMLResponse

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest
from jeeves_shared.contracts.requests import PromotionRequest, RegisteredModel, RollbackRequest
from jeeves_shared.errors import Conflict
from jeeves_trainer.card import CardParts, card_html, card_markdown
from jeeves_trainer.pages import CONTENT_SECURITY_POLICY
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.report import junit_xml, markdown, page

Actor = Annotated[str | None, Header(alias="x-jeeves-actor", max_length=120)]
"""Who asks, for the audit trail; the caller's address where the header is missing."""


def models_router(registry: ModelRegistry, store: ArtifactStore, on_change: Callable[[], None]) -> APIRouter:
    """Routes below `/v1/models`.

    Args:
        registry: of this installation.
        store: holds the evaluation reports.
        on_change: called after an alias has changed and the answer is sent.
    """
    router = APIRouter(prefix="/v1/models", tags=["models"])

    @router.get("", summary="Model versions with their aliases, newest first")
    def index() -> list[RegisteredModel]:
        return registry.models()

    @router.get("/audit", summary="Who changed which alias, when and why; newest first")
    def audit(limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in registry.audit(limit)]

    @router.get("/{model_id}", summary="One model version")
    def read(model_id: str) -> RegisteredModel:
        return registry.get(model_id)

    @router.get("/{model_id}/card", summary="The card of a model version")
    def card(model_id: str, form: Literal["html", "markdown"] = "html") -> Response:
        parts = _card_parts(registry.get(model_id).manifest, store)
        if form == "markdown":
            return Response(card_markdown(parts), media_type="text/markdown; charset=utf-8")
        return HTMLResponse(card_html(parts), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    @router.post("/rollback", summary="Make the previous champion the champion again")
    def rollback(
        request: Request, after: BackgroundTasks, body: RollbackRequest | None = None, actor: Actor = None
    ) -> RegisteredModel:
        champion = registry.rollback(_who(request, actor), body.reason if body else "")
        after.add_task(on_change)
        return champion

    @router.post("/{model_id}/promote", summary="Make a version the champion; needs a report that passed its gate")
    def promote(
        request: Request, after: BackgroundTasks, model_id: str, body: PromotionRequest, actor: Actor = None
    ) -> RegisteredModel:
        registry.get(model_id)
        report = store.get_manifest(EvaluationReport, "evaluation", body.evaluation_id)
        if report.model_id != model_id:
            raise Conflict(f"Report {report.id} is on {report.model_id}, not on {model_id}: evaluate this version.")
        if not report.passed:
            reasons = tuple(condition.reason for condition in report.gate if not condition.passed)
            raise Conflict(f"The gate refused {model_id}: {'; '.join(reasons)}", reasons)
        champion = registry.promote(model_id, _who(request, actor), body.reason or f"gate passed in {report.id}")
        after.add_task(on_change)
        return champion

    return router


def _card_parts(model: ModelManifest, store: ArtifactStore) -> CardParts:
    training = store.find_manifest(TrainingManifest, "training", model.training_id)
    reports = [report for report in store.list_manifests(EvaluationReport, "evaluation") if report.model_id == model.id]
    latest: dict[str, EvaluationReport] = {}
    for report in sorted(reports, key=lambda report: report.created_at, reverse=True):
        latest.setdefault(report.quantization, report)
    curve = [json.loads(line) for line in store.read_bytes(training.curve).splitlines()] if training else []
    return CardParts(
        model=model,
        training=training,
        dataset=store.find_manifest(DatasetManifest, "dataset", model.dataset_id),
        reports=tuple(latest.values()),
        curve=curve,
    )


def reports_router(store: ArtifactStore) -> APIRouter:
    """Routes below `/v1/reports`: evaluation reports for machines and for people."""
    router = APIRouter(prefix="/v1/reports", tags=["evaluations"])

    @router.get("/{evaluation_id}", summary="An evaluation report", response_model=None)
    def read(
        evaluation_id: str, form: Literal["json", "markdown", "html", "junit"] = "json"
    ) -> EvaluationReport | Response:
        report = store.get_manifest(EvaluationReport, "evaluation", evaluation_id)
        if form == "markdown":
            return Response(markdown(report), media_type="text/markdown; charset=utf-8")
        if form == "html":
            return HTMLResponse(page(report), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
        if form == "junit":
            return Response(junit_xml(report), media_type="application/xml")
        return report

    return router


def _who(request: Request, actor: str | None) -> str:
    return actor or (request.client.host if request.client else "unknown")
