"""The HTTP process of the trainer. Light: torch and its family are imported in the jobs' processes only."""

import logging
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from prometheus_client import Counter

from jeeves_shared.contracts.requests import EvaluationRequest, ExamRequest, QuantizationRequest, TrainingRequest
from jeeves_shared.jobs.service import JobServiceParts, create_job_service
from jeeves_shared.jobs.store import open_database
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import run_service
from jeeves_trainer.api import models_router, reports_router
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.settings import TrainerSettings
from jeeves_trainer.tracking import tell

logger = logging.getLogger(__name__)

NAME = "trainer"
TRAININGS = JobKind("trainings", "jeeves_trainer.trainings:train", reuse="always")
PLANS = JobKind("plans", "jeeves_trainer.plans:plan", reuse="in-flight")
QUANTIZATIONS = JobKind("quantizations", "jeeves_trainer.quantizations:quantize", reuse="always")
EXAMS = JobKind("exams", "jeeves_trainer.exams:take_exam", reuse="always")
EVALUATIONS = JobKind("evaluations", "jeeves_trainer.evaluations:evaluate", reuse="always")


def create_app(settings: TrainerSettings) -> FastAPI:
    """Build the service.

    Args:
        settings: validated.
    """
    registry = ModelRegistry(open_database(settings.database(NAME)))

    def routers(parts: JobServiceParts) -> Sequence[APIRouter]:
        failures = Counter(
            "jeeves_trainer_mlflow_failures_total",
            "Changes of aliases that MLflow was not told.",
            registry=parts.registry,
        )

        def complain(line: str) -> None:
            failures.inc()
            logger.warning(line)

        def on_change() -> None:
            tell(lambda mlflow: mlflow.record_models(registry.models()), complain)

        return (models_router(registry, parts.store, on_change), reports_router(parts.store))

    return create_job_service(
        NAME,
        settings,
        [
            (TRAININGS, TrainingRequest),
            (PLANS, TrainingRequest),
            (QUANTIZATIONS, QuantizationRequest),
            (EVALUATIONS, EvaluationRequest),
            (EXAMS, ExamRequest),
        ],
        routers,
    )


def main() -> None:
    """Run the service until it is told to stop."""
    run_service(NAME, TrainerSettings, create_app)
