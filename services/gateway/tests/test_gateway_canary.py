"""The sequential test against simulated models; test_gateway_engine has a candidate beside a champion."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from jeeves_gateway.canary import FALSE_ALARM, MISSED, SequentialTest, in_share


def trial(seed: int, champion: float, candidate: float, share: float = 0.2, answers_max: int = 20000) -> SequentialTest:
    draw = random.Random(seed)
    test = SequentialTest()
    for _ in range(answers_max):
        if draw.random() < share:
            if test.candidate(draw.random() < candidate) != "running":
                break
        else:
            test.champion(draw.random() < champion)
    return test


class TestSequentialTest:
    def test_error_rates_are_those_that_were_asked_for(self) -> None:
        good = [trial(seed, 0.15, 0.15).verdict for seed in range(200)]
        worse = [trial(seed, 0.15, 0.261).verdict for seed in range(200)]
        # Three standard errors above the nominal rate, of 200 trials.
        assert good.count("worse") / 200 <= FALSE_ALARM + 3 * (FALSE_ALARM * 0.95 / 200) ** 0.5
        assert worse.count("as-good") / 200 <= MISSED + 3 * (MISSED * 0.95 / 200) ** 0.5
        assert "running" not in good + worse

    def test_a_broken_candidate_is_found_within_few_answers(self) -> None:
        assert all(trial(seed, 0.1, 1.0).answers <= 20 for seed in range(20))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=300))
    def test_verdict_is_final_and_counts_add_up(self, events: list[tuple[bool, bool]]) -> None:
        test, final = SequentialTest(), "running"
        for champion, bad in events:
            if champion:
                test.champion(bad)
            else:
                test.candidate(bad)
            assert final in ("running", test.verdict)
            final = test.verdict
        assert 0 <= test.bad <= test.answers and 0 <= test.champion_bad <= test.champion_answers

    def test_share_is_kept_and_conversations_stay(self) -> None:
        inside = [in_share(f"conversation {number}", 0.3) for number in range(4000)]
        assert 0.27 < sum(inside) / 4000 < 0.33
        assert inside == [in_share(f"conversation {number}", 0.3) for number in range(4000)]


def test_an_external_engine_has_no_candidates(gateway) -> None:
    assert gateway.get("/v1/admin/models/canary").status_code == 404
    assert gateway.delete("/v1/admin/models/canary").status_code == 404
    assert gateway.post("/v1/admin/models/canary/promote").status_code == 404
