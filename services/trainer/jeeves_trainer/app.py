"""The HTTP process of the trainer. Light: torch and its family are imported in the jobs' processes only."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from jeeves_shared.contracts.requests import EvaluationRequest, ExamRequest, QuantizationRequest, TrainingRequest
from jeeves_shared.jobs.service import JobServiceParts, create_job_service
from jeeves_shared.jobs.store import open_database
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import run_service
from jeeves_trainer.api import models_router, reports_router
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.settings import TrainerSettings

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
        return (models_router(registry, parts.store), reports_router(parts.store))

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
