"""Intervals, answer figures and file names."""

import re

import numpy as np
import pytest

from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_trainer.bootstrap import Measured, MetricName, compare, mean_of
from jeeves_trainer.gguf_files import gguf_file_name
from jeeves_trainer.progress import duration_text, evaluation_steps
from jeeves_trainer.scoring import is_refusal, key_facts, refuses_rightly, token_f1

LOSS = MetricName("answer_loss", "nats/token", higher_is_better=False)


def test_a_paired_difference_is_narrower_than_its_parts():
    rng = np.random.default_rng(0)
    hardness = rng.normal(2.0, 1.0, 80)
    base, candidate = mean_of(list(hardness)), mean_of(list(hardness - 0.3 + rng.normal(0, 0.05, 80)))
    result = compare(LOSS, base, candidate, None, resamples=2000, seed=17)
    assert result.difference.value == pytest.approx(-0.3, abs=0.03)
    assert result.difference.high < 0
    assert result.difference.high - result.difference.low < 0.2 * (result.base.high - result.base.low)
    assert result.base.low < result.base.value < result.base.high


def test_the_interval_matches_theory():
    values = list(np.random.default_rng(1).normal(0.0, 1.0, 400))
    result = compare(LOSS, mean_of([0.0] * 400), mean_of(values), None, resamples=4000, seed=17)
    half = 1.96 * np.std(values) / 20
    assert result.candidate.high - result.candidate.low == pytest.approx(2 * half, rel=0.1)


def test_long_answers_weigh_by_their_tokens():
    assert Measured(np.array([10.0, 1.0]), np.array([10.0, 1.0])).value == 1.0
    assert Measured(np.array([30.0, 1.0]), np.array([10.0, 1.0])).value == pytest.approx(31 / 11)


def test_the_seed_repeats_the_interval_and_a_champion_is_compared():
    base, other = mean_of([1.0, 2.0, 3.0, 4.0]), mean_of([1.0, 1.0, 2.0, 2.0])
    first = compare(LOSS, base, other, other, resamples=500, seed=3)
    assert first == compare(LOSS, base, other, other, resamples=500, seed=3)
    assert first.champion_difference is not None and first.champion_difference.value == 0.0
    assert first.champion_difference.low == first.champion_difference.high == 0.0


def test_key_facts_ignore_case_and_line_breaks():
    assert (
        key_facts("Use `withCredentials`\nand  single quotes.", ["WithCredentials", "and single quotes", "x"]) == 2 / 3
    )


def test_token_f1():
    assert token_f1("the agent label", "agent label any") == pytest.approx(2 / 3)
    assert token_f1("", "agent") == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        REFUSAL,
        "I could not find this in the Jenkins documentation I searched.",
        "Sorry, I couldn't find that.",
        "The sources do not mention a parameter `quorum`.",
        "This is not covered in the documentation.",
    ],
)
def test_refusals(answer: str):
    assert is_refusal(answer)
    assert refuses_rightly(answer, ["minutes"])


@pytest.mark.parametrize("answer", ["Set `agent none` and find the label.", "Boil it for six minutes.", ""])
def test_not_refusals(answer: str):
    assert not is_refusal(answer)


def test_a_refusal_that_gives_it_away_is_none():
    assert not refuses_rightly("I could not find this, but six Minutes will do.", ["minutes"])


# Source: ggml's docs/gguf.md, "Validating Above Naming Convention".
GGUF_NAME = re.compile(
    r"^(?P<BaseName>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))-"
    r"(?:(?P<SizeLabel>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)"
    r"(?:-(?P<FineTune>[A-Za-z0-9\s-]+))?)?-(?:(?P<Version>v\d+(?:\.\d+)*))"
    r"(?:-(?P<Encoding>(?!LoRA|vocab)[\w_]+))?(?:-(?P<Type>LoRA|vocab))?(?:-(?P<Shard>\d{5}-of-\d{5}))?\.gguf$"
)


def test_file_names_follow_the_specification():
    name = gguf_file_name("SmolLM2-135M-Instruct", 3, "Q4_K_M", tuned=True)
    assert name == "SmolLM2-135M-Instruct-jeeves-v3-Q4_K_M.gguf"
    parts = GGUF_NAME.match(name)
    assert parts and parts["SizeLabel"] == "135M" and parts["Version"] == "v3" and parts["Encoding"] == "Q4_K_M"
    assert gguf_file_name("SmolLM2-135M-Instruct", 0, "Q8_0", tuned=False) == "SmolLM2-135M-Instruct-v0-Q8_0.gguf"
    assert gguf_file_name("own/model name", 1, "Q8_0", tuned=True) == "own-model-name-jeeves-v1-Q8_0.gguf"


def test_evaluations_are_spread_and_the_last_step_is_one():
    assert evaluation_steps(74, 4) == {18, 37, 56, 74}
    assert evaluation_steps(2, 6) == {1, 2}
    assert evaluation_steps(1, 1) == {1}
    assert duration_text(44.6) == "45 s"
    assert duration_text(150) == "2 min"
