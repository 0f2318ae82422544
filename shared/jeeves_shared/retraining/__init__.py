"""Asking a Jenkins controller for a retraining, and knowing what became of it. Needs the extra `jenkins`."""

from jeeves_shared.retraining.errors import JenkinsAway, JenkinsRefused, PipelineMissing, RetrainingError
from jeeves_shared.retraining.trigger import FINAL_STATES, Retraining, RetrainingState, RetrainingTrigger

__all__ = [
    "FINAL_STATES",
    "JenkinsAway",
    "JenkinsRefused",
    "PipelineMissing",
    "Retraining",
    "RetrainingError",
    "RetrainingState",
    "RetrainingTrigger",
]
