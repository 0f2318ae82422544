"""Settings of the trainer. Read by the service and, from the same environment, by its jobs."""

from pydantic import Field

from jeeves_shared.settings import ServiceSettings, load_settings
from jeeves_trainer.layout import usable_cores


class TrainerSettings(ServiceSettings):
    """What the trainer needs to know beyond the common settings."""

    trainer_threads: int = Field(default=0, ge=0, le=1024)
    """Compute threads of a job (`JEEVES_TRAINER_THREADS`). 0: as many as this process may use cores."""

    trainer_mlflow_url: str = Field(default="", pattern=r"^(https?://.+)?$")
    """MLflow server that is told of trainings, versions and aliases (`JEEVES_TRAINER_MLFLOW_URL`). Empty: the one in
    `MLFLOW_TRACKING_URI`, or none. `MLFLOW_TRACKING_USERNAME`, `_PASSWORD` and `_TOKEN` are heeded."""


def job_threads() -> int:
    """Compute threads of this job's process, from the environment.

    Raises:
        SettingsError: wrong configuration.
    """
    return load_settings(TrainerSettings).trainer_threads or usable_cores()
