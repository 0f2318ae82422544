"""The card of a data set: Markdown, for a person who decides whether to train on it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from jeeves_curator.split import LEAK_SIMILARITY, NGRAM_WORDS
from jeeves_curator.steps import Drop
from jeeves_shared.contracts.documents import Pair, TrainingSample
from jeeves_shared.contracts.recipes import CurateRecipe

_EXAMPLES_PER_REASON = 3
_EXAMPLES_KEPT = 5
_EXAMPLE_CHARACTERS = 160


def render_card(
    *,
    dataset_id: str,
    recipe: CurateRecipe,
    entered: dict[str, int],
    kept: Sequence[Pair],
    drops: Sequence[Drop],
    train: Sequence[TrainingSample],
    evaluation: Sequence[TrainingSample],
    derived: int,
    ngram_overlap: float,
) -> str:
    """The whole card. Holds no date: the same data set has the same card.

    Args:
        dataset_id: of the manifest.
        recipe: as resolved.
        entered: pairs that reached each step, by name, in order.
        kept: pairs of both parts.
        drops: with reasons.
        train: rows of the training part.
        evaluation: rows of the evaluation part.
        derived: pairs made from headings that went into the steps.
        ngram_overlap: see `jeeves_curator.split.Split`.
    """
    collected = len(kept) + len(drops) - derived
    leaks = sum(drop.reason == "leakage" for drop in drops)
    sections = {
        "Rows": _table(
            ("part", "rows", "answerable", "closed book", "refusals", "documents"),
            (_part("train", train), _part("evaluation", evaluation)),
        ),
        "Steps": _table(("step", "pairs that reached it"), entered.items()),
        "Drops": _table(("reason", "pairs"), sorted(Counter(drop.reason for drop in drops).items())),
        "Kinds": _table(("kind", "pairs"), sorted(Counter(pair.kind for pair in kept).items())),
        "Lengths, characters": _table(("what", "median", "longest"), _lengths(kept)),
        "Licences of the passages": _table(("licence", "documents"), _licences((*train, *evaluation))),
        "Leakage": [
            f"The parts share no document. {leaks} training pairs were dropped because a question or answer is like "
            f"one of the evaluation part (Jaccard >= {LEAK_SIMILARITY} on character 5-grams). Of the word "
            f"{NGRAM_WORDS}-grams of the evaluation answers, {ngram_overlap:.2%} also stand in a training answer."
        ],
        "Some that were kept": [
            f"- **{_short(pair.question)}** {_short(pair.answer)} (`{pair.source_path or 'refusal'}`)"
            for pair in _spread(kept)
        ],
        "Some that were dropped": _dropped(drops),
    }
    lines = [
        f"# Data set {dataset_id}",
        "",
        f"Recipe `{recipe.name}`, seed {recipe.seed}. {collected} pairs collected, {derived} derived from headings, "
        f"{len(kept)} kept, {len(drops)} dropped.",
        "",
    ]
    for heading, content in sections.items():
        lines += [f"## {heading}", "", *content, ""]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    body = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(body or [f"| none |{' |' * (len(header) - 1)}"])]


def _part(name: str, rows: Sequence[TrainingSample]) -> tuple[object, ...]:
    return (
        name,
        len(rows),
        sum(row.answerable for row in rows),
        sum(not row.passages for row in rows),
        sum(row.pair.kind == "refusal" for row in rows),
        len({row.pair.source_path for row in rows if row.pair.source_path}),
    )


def _lengths(pairs: Sequence[Pair]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, lengths in (
        ("question", sorted(len(pair.question) for pair in pairs)),
        ("answer", sorted(len(pair.answer) for pair in pairs)),
    ):
        if lengths:
            rows.append((name, lengths[len(lengths) // 2], lengths[-1]))
    return rows


def _licences(rows: Sequence[TrainingSample]) -> list[tuple[object, ...]]:
    documents = {(passage.licence, passage.source_path) for row in rows for passage in row.passages}
    return sorted(Counter(licence for licence, _ in documents).items())


def _spread(pairs: Sequence[Pair]) -> Sequence[Pair]:
    return pairs[:: max(1, len(pairs) // _EXAMPLES_KEPT)][:_EXAMPLES_KEPT]


def _dropped(drops: Sequence[Drop]) -> list[str]:
    lines = []
    for reason in sorted({drop.reason for drop in drops}):
        for drop in [drop for drop in drops if drop.reason == reason][:_EXAMPLES_PER_REASON]:
            detail = f" ({_short(drop.detail)})" if drop.detail else ""
            lines.append(f"- `{reason}`{detail}: {_short(drop.pair.question)}")
    return lines or ["None."]


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXAMPLE_CHARACTERS else f"{flat[: _EXAMPLE_CHARACTERS - 1]}…"
