"""The ladder under pressure, against a model written down another way; `JEEVES_MODEL_EXAMPLES` sets how long."""

import os
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from jeeves_gateway.ladder import STEPS, Ladder, Pressure, free_memory_share

STEADY = 5.0


class LadderModel(RuleBasedStateMachine):
    """Remembers all observations; where the ladder must stand follows from them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ladder = Ladder(lambda: self.now, STEADY)
        self.level = 0
        self.better_from: float | None = None

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 4.5, 5.0, 20.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @rule(queue=st.sampled_from([0.0, 0.49, 0.5, 1.0]), memory=st.sampled_from([1.0, 0.05, 0.049, 0.02, 0.019, 0.0]))
    def something_is_observed(self, queue: float, memory: float) -> None:
        needed = max(int(queue >= 0.5), int(memory < 0.05), 2 * int(memory < 0.02))
        before = self.level
        assert self.ladder.observe(Pressure(queue, memory)) == self.ladder.step
        if needed >= self.level:
            self.level, self.better_from = needed, None
        elif self.better_from is None:
            self.better_from = self.now
        elif self.now - self.better_from >= STEADY:
            self.level, self.better_from = self.level - 1, self.now
        assert self.level >= needed, "never above what the pressure allows"
        assert self.level >= before - 1, "up one rung at a time"

    @invariant()
    def it_stands_where_the_model_stands(self) -> None:
        assert self.ladder.step == STEPS[self.level]
        assert bool(self.ladder.reason) == (self.level > 0)


TestLadderModel = LadderModel.TestCase
TestLadderModel.settings = settings(
    max_examples=int(os.environ.get("JEEVES_MODEL_EXAMPLES", "40")), stateful_step_count=50, deadline=None
)


def test_free_memory_is_read_from_the_kernel_and_its_absence_is_no_pressure(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\nHugePages_Total: 0\n")
    assert free_memory_share(tmp_path / "meminfo") == 0.04
    assert free_memory_share(tmp_path / "none") == 1.0
    assert 0 < free_memory_share() < 1
