"""The quality score: what it was fitted on, what it says, and that no topic is silenced."""

from pathlib import Path

import pytest

from jeeves_curator.quality import (
    Label,
    fit_weights,
    grade,
    is_drawn,
    is_held_out,
    judged_paragraphs,
    paragraph_hash,
    passes_agree,
    scores,
    shipped_fit,
    shipped_labels,
)

GOOD = (
    "Set the number of executors of the built-in node to zero, so that builds run on agents only.",
    "If a stage needs a credential, bind it with `withCredentials` and pass it to `sh` in single quotes.",
    "The `timeout` option aborts the Pipeline run when it takes longer than the given time.",
)
POOR = (
    "- [Mailer Plugin](https://plugins.jenkins.io/mailer): hudson.tasks.**MailAddressResolver** ([view on GitHub](x))",
    "We hope to see you in Santa Clara in September, thanks to everybody who came to the last meetup!",
    "Update `kubernetes` to version `4306.vc91e951ea_eb_d` (#1234) commit: 387d97a4c",
)


def test_there_are_a_thousand_labels_of_two_passes_without_text() -> None:
    labels = shipped_labels()
    assert len(labels) >= 1000
    assert len({label.sha256 for label in labels}) == len(labels)
    assert {len(label.sha256) for label in labels} == {24}
    held_out = [label for label in labels if is_held_out(label)]
    fit = shipped_fit()
    assert (fit.labels, fit.held_out) == (len(labels), len(held_out))
    assert passes_agree(held_out) == pytest.approx((fit.agreement, fit.kappa), abs=1e-4)


def test_kappa_is_agreement_beyond_chance() -> None:
    passes = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    labels = [
        Label(sha256=f"{n:024x}", source_path="", url="", label=first, second=second)
        for n, (first, second) in enumerate(passes)
    ]
    assert passes_agree(labels) == pytest.approx((0.7, 0.4))  # Chance: 0.5 * 0.6 + 0.5 * 0.4.


def test_what_tells_something_scores_higher() -> None:
    assert min(scores(GOOD)) > 0.5 > max(scores(POOR))


def test_a_low_score_is_kept_now_and_then_and_a_high_one_always() -> None:
    texts = [f"paragraph number {number}" for number in range(4000)]
    assert all(is_drawn(0.9, text, 17) for text in texts)
    low = sum(is_drawn(0.1, text, 17) for text in texts) / len(texts)
    lower = sum(is_drawn(0.0, text, 17) for text in texts) / len(texts)
    # P(Pareto(9) > 0.9) = 1.9^-9 = 0.31 %, P(Pareto(9) > 1) = 2^-9 = 0.2 %.
    assert 0 < lower <= low < 0.02


def test_code_and_headings_always_stay() -> None:
    text = f"# Agents\n\n{GOOD[0]}\n\n```groovy\nagent none\n```\n\n## News\n\n{POOR[1]}\n"
    graded = grade([("src/a.md", text)], seed=17)
    assert graded.texts["src/a.md"] == f"# Agents\n\n{GOOD[0]}\n\n```groovy\nagent none\n```"
    assert (len(graded.scores), graded.left_out) == (2, 1)


def test_weights_can_be_fitted_on_other_labels() -> None:
    good = [f"{text} Step {number} of the guide." for number in range(40) for text in GOOD]
    poor = [f"{text} Join us, number {number}!" for number in range(40) for text in POOR]
    texts = {paragraph_hash(text): text for text in (*good, *poor)}
    labels = [
        Label(sha256=name, source_path="src/a.md", url="", label=int(text in good), second=0)
        for name, text in texts.items()
    ]
    fit = fit_weights(labels, texts)
    assert (fit.precision, fit.recall) == (1.0, 1.0)
    assert fit.held_out > 20


@pytest.mark.corpora
def test_the_shipped_labels_are_of_paragraphs_of_the_public_sources(corpora: Path) -> None:
    """Plugin documents are Markdown at the source, so their paragraphs are found there without conversion."""
    wanted = {label.sha256 for label in shipped_labels() if label.source_path.startswith(("helm-charts", "kubernetes"))}
    found = set()
    for folder in (corpora / "helm-charts", corpora / "plugins" / "kubernetes"):
        for path in folder.rglob("*.md"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found |= {paragraph_hash(part) for part in judged_paragraphs(text)} & wanted
    assert len(found) > len(wanted) / 2
