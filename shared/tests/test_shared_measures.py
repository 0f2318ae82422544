"""How answers are measured: texts, refusals, intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_shared.measures.bootstrap import Measured, MetricName, compare, estimate, mean_of, resample
from jeeves_shared.measures.refusals import is_refusal, refuses_rightly, says_no
from jeeves_shared.measures.similarity import load_similarity
from jeeves_shared.measures.texts import longest_common_run, rouge_l, terms_present, token_f1, words

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
        terms_present("Use `withCredentials`\nand  single quotes.", ["WithCredentials", "and single quotes", "x"])
        == 2 / 3
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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I could not find this in the Jenkins documentation that I searched.", True),
        ("There is no `teardown` directive; use `post`.", True),
        ("`teardown` does not exist in Declarative Pipeline.", True),
        ("`teardown` does not occur in the sources.", True),
        ("It isn't a valid directive.", True),
        ("在我检索的 Jenkins 文档中没有找到相关内容。", True),
        ("Declarative 中没有 teardown 指令。", True),
        ("The `teardown` directive runs after all stages.", False),
        ("A dry Riesling goes well with salmon.", False),
        ("不妨试试雷司令。", False),
        ("Use `post`. [1]\n\nFrom the source [1]:\n\nThere is no `finally` in Declarative.", False),
    ],
)
def test_what_counts_as_a_refusal_or_correction(answer: str, expected: bool):
    assert says_no(answer) is expected


def test_chinese_answers_are_compared_by_character():
    assert token_f1("使用凭据", "使用凭据绑定") == pytest.approx(2 * 1 * (4 / 6) / (1 + 4 / 6))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_interval_holds_the_mean(values: list[float]):
    found = estimate(mean_of(values), resamples=200, seed=17)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found == estimate(mean_of(values), resamples=200, seed=17)


def test_interval_of_a_share_is_as_wide_as_it_should_be():
    # 60 of 100: the normal interval of a share is 0.6 ± 1.96 · sqrt(0.6 · 0.4 / 100).
    found = estimate(mean_of([1.0] * 60 + [0.0] * 40), resamples=2000, seed=17)
    assert found.low == pytest.approx(0.504, abs=0.025)
    assert found.high == pytest.approx(0.696, abs=0.025)


def test_many_samples_are_resampled_in_parts_with_the_same_draws():
    values = mean_of(list(np.random.default_rng(2).normal(0, 1, 300)))
    (whole,) = resample([values], 500, 5)
    (parts,) = resample([values], 500, 5, chunk_draws=1000)
    assert np.array_equal(whole, parts)


def test_rouge_l_keeps_the_order():
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", "police kill the gunman") == pytest.approx(0.5)
    assert rouge_l("", "police") == 0.0


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_measures_keep_their_ranges(one: list[str], other: list[str]):
    run = longest_common_run(one, other)
    assert run == longest_common_run(other, one) <= min(len(one), len(other))
    runs = {tuple(one[at : at + run]) for at in range(len(one) - run + 1)}
    assert any(tuple(other[at : at + run]) in runs for at in range(len(other) - run + 1))
    first, second = " ".join(one), " ".join(other)
    assert 0 <= rouge_l(first, second) <= token_f1(first, second) + 1e-12 <= 1 + 1e-12


def test_words_are_one_form_of_each_character():
    assert words("Use `withCredentials`, ＡＢＣ_d 使用") == ["use", "withcredentials", "abc", "d", "使", "用"]


def test_similarity_knows_what_is_near():
    similarity = load_similarity()
    assert similarity is not None
    near = similarity("Bind the secret with withCredentials.", "Use withCredentials to bind a credential.")
    assert near > similarity("Bind the secret with withCredentials.", "A dry Riesling goes well with salmon.") + 0.2
