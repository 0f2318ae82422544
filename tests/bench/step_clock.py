"""Seconds of each training step, of any trainer that knows transformers' callbacks; imports nothing of ours."""

import time
from typing import Any

from transformers import TrainerCallback


class StepClock(TrainerCallback):
    """Seconds of each step.

    Attributes:
        seconds: one for each step that has ended.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)
