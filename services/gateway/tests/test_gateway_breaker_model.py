"""The breaker against a model that is written down another way, in as many orders of events as hypothesis finds."""

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jeeves_gateway.breaker import CircuitBreaker

FAILURES, FIRST, LONGEST = 3, 2.0, 16.0


class BreakerModel(RuleBasedStateMachine):
    """Time goes on; requests begin, and end in one of three ways, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = CircuitBreaker(lambda: self.now, FAILURES, FIRST, LONGEST)
        self.in_a_row = 0
        self.closed = True
        self.reopens_at = 0.0
        self.pause = FIRST
        self.normal = 0
        self.probe = False

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0, 20.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_request_comes(self) -> None:
        expected = self.closed or (self.now >= self.reopens_at and not self.probe)
        assert self.breaker.allow() == expected
        if expected and self.closed:
            self.normal += 1
        elif expected:
            self.probe = True

    @precondition(lambda self: self.probe and not self.normal)
    @rule()
    def the_probe_succeeds(self) -> None:
        self.breaker.success()
        self.closed, self.probe, self.in_a_row, self.pause = True, False, 0, FIRST

    @precondition(lambda self: self.probe and not self.normal)
    @rule()
    def the_probe_fails(self) -> None:
        self.breaker.failure()
        self.probe = False
        self.pause = min(self.pause * 2, LONGEST)
        self.reopens_at = self.now + self.pause

    @precondition(lambda self: self.probe and not self.normal)
    @rule()
    def the_probe_is_abandoned(self) -> None:
        self.breaker.abandoned()
        self.probe = False

    @precondition(lambda self: self.normal and not self.probe)
    @rule()
    def a_request_fails(self) -> None:
        self.normal -= 1
        self.breaker.failure()
        self.in_a_row += 1
        if self.closed and self.in_a_row >= FAILURES:
            self.closed, self.reopens_at = False, self.now + self.pause

    @precondition(lambda self: self.normal and not self.probe)
    @rule()
    def a_request_succeeds(self) -> None:
        self.normal -= 1
        self.breaker.success()
        self.closed, self.in_a_row, self.pause = True, 0, FIRST

    @precondition(lambda self: self.normal and not self.probe)
    @rule()
    def a_request_is_abandoned(self) -> None:
        self.normal -= 1
        self.breaker.abandoned()

    @invariant()
    def state_is_the_models(self) -> None:
        expected = "closed" if self.closed else "half-open" if self.now >= self.reopens_at else "open"
        assert self.breaker.state == expected


TestBreakerModel = BreakerModel.TestCase
TestBreakerModel.settings = settings(
    max_examples=int(os.environ.get("JEEVES_MODEL_EXAMPLES", "40")), stateful_step_count=50, deadline=None
)
