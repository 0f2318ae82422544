"""The card of a data set, for a person who decides whether to train on it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jeeves_curator.card_forms import Bullets, CardSection, Content, Histogram, Table, Waterfall
from jeeves_curator.leakage import ANSWER_NGRAM_WORDS, ANSWER_SHARE_MIN, Leak
from jeeves_curator.quality import Graded, histogram, shipped_fit
from jeeves_curator.split import LEAK_NGRAM_SHARE, LEAK_SIMILARITY, NGRAM_WORDS
from jeeves_curator.steps import Drop
from jeeves_shared.contracts.curation import CuratedDocument, CurationReport, DocumentDrop
from jeeves_shared.contracts.documents import Pair, TrainingSample
from jeeves_shared.contracts.manifests import DatasetManifest
from jeeves_shared.contracts.recipes import CurateRecipe

_EXAMPLES_PER_REASON = 3
_EXAMPLES_KEPT = 5
_EXAMPLE_CHARACTERS = 160
_ATTRIBUTIONS_MAX = 400


@dataclass(frozen=True)
class CardFacts:
    """What a card tells of.

    Attributes:
        dataset_id: of the manifest.
        recipe: as resolved.
        entered: pairs that reached each step, by name, in order.
        dropped_by: drops of each step, by reason.
        kept: pairs of both parts.
        drops: with reasons.
        train: rows of the training part.
        evaluation: rows of the evaluation part.
        derived: pairs made from headings that went into the steps.
        ngram_overlap: see `jeeves_curator.split.Split`.
        report: of the documents.
        documents: that are kept.
        document_drops: documents and paragraphs.
        graded: paragraphs with their quality, and what was drawn.
        text_leaks: evaluation text that was taken out of documents to train on, with their paths.
        preferences: rows of preference pairs to train on, by origin.
        previous: data set to compare with.
    """

    dataset_id: str
    recipe: CurateRecipe
    entered: Mapping[str, int]
    kept: Sequence[Pair]
    drops: Sequence[Drop]
    train: Sequence[TrainingSample]
    evaluation: Sequence[TrainingSample]
    derived: int
    ngram_overlap: float
    report: CurationReport
    documents: Sequence[CuratedDocument]
    document_drops: Sequence[DocumentDrop]
    graded: Graded | None = None
    text_leaks: Sequence[tuple[str, Leak]] = ()
    preferences: Mapping[str, int] = field(default_factory=dict)
    previous: DatasetManifest | None = None


def card_title(facts: CardFacts) -> str:
    """The title of a card."""
    return f"Data set {facts.dataset_id}"


def card_summary(facts: CardFacts) -> str:
    """One line: what came in and what is left."""
    collected = len(facts.kept) + len(facts.drops) - facts.derived
    documents = sum(facts.report.sources.values())
    return (
        f"Recipe `{facts.recipe.name}`, seed {facts.recipe.seed}. {documents} documents, {len(facts.documents)} kept. "
        f"{collected} pairs collected, {facts.derived} derived from headings, {len(facts.kept)} kept, "
        f"{len(facts.drops)} dropped."
    )


def card_sections(facts: CardFacts) -> list[CardSection]:
    """All of a card. Holds no date: the same data set has the same card.

    Args:
        facts: what it tells of.
    """
    return [
        CardSection("Rows", (_rows(facts), Table(("preference pairs from", "rows"), tuple(facts.preferences.items())))),
        CardSection("Documents: what each step took", (_document_flow(facts.report), _sources(facts.report))),
        CardSection(
            "Pairs: what each step took",
            (_pair_flow(facts), Table(("step", "pairs that reached it"), tuple(facts.entered.items()))),
        ),
        CardSection("Drops", (Table(("reason", "pairs"), _counted(drop.reason for drop in facts.drops)),)),
        CardSection(
            "Paragraphs dropped from documents that stayed",
            (_pairs_of(facts.report.paragraph_drops, "reason", "paragraphs"),),
        ),
        *([CardSection("Quality of the paragraphs, by score", _quality(facts.graded))] if facts.graded else []),
        CardSection(
            "Redactions",
            (
                _pairs_of(facts.report.redactions, "kind", "items"),
                f"In {facts.report.redacted_documents} documents. The rows were scanned again: nothing was found.",
            ),
        ),
        CardSection("Near duplicates", (_copies(facts),)),
        CardSection(
            "What is out of date",
            (_pairs_of(facts.report.outdated_terms, "term", "documents that use it"), _contradictions(facts.report)),
        ),
        CardSection("Kinds", (Table(("kind", "pairs"), _counted(pair.kind for pair in facts.kept)),)),
        CardSection("Lengths, characters", (Table(("what", "shortest", "median", "longest"), _lengths(facts)),)),
        CardSection("Languages", (_pairs_of(facts.report.languages, "language", "documents"),)),
        CardSection("Licences of the passages", (Table(("licence", "documents"), _licences(facts)),)),
        CardSection("Attribution", (_attribution(facts),)),
        CardSection("Leakage", tuple(_leakage(facts))),
        *(
            [CardSection("Difference to the previous version", (_difference(facts, facts.previous),))]
            if facts.previous
            else []
        ),
        CardSection("Some that were kept", (Bullets(tuple(_kept_example(pair) for pair in _spread(facts.kept))),)),
        CardSection("Some that were dropped", (_dropped(facts),)),
    ]


def _rows(facts: CardFacts) -> Table:
    header = ("part", "rows", "answerable", "closed book", "refusals", "documents")
    return Table(header, (_part("train", facts.train), _part("evaluation", facts.evaluation)))


def _quality(graded: Graded) -> tuple[Histogram, str, Table]:
    fit = shipped_fit()
    return (
        Histogram(histogram(graded.scores)),
        f"{graded.left_out} of {len(graded.scores)} were not drawn for text to train on; the index holds them all.",
        Table(
            ("the score's labels", "held out", "precision", "recall", "two passes agree", "kappa"),
            ((fit.labels, fit.held_out, fit.precision, fit.recall, fit.agreement, fit.kappa),),
        ),
    )


def _part(name: str, rows: Sequence[TrainingSample]) -> tuple[object, ...]:
    return (
        name,
        len(rows),
        sum(row.answerable for row in rows),
        sum(not row.passages for row in rows),
        sum(row.pair.kind == "refusal" for row in rows),
        len({row.pair.source_path for row in rows if row.pair.source_path}),
    )


def _document_flow(report: CurationReport) -> Waterfall:
    losses = tuple((step.step, reason, number) for step in report.steps for reason, number in step.dropped.items())
    return Waterfall("documents", sum(report.sources.values()), losses)


def _sources(report: CurationReport) -> Table:
    rows = tuple((source, number, report.kept.get(source, 0)) for source, number in sorted(report.sources.items()))
    return Table(("source", "documents", "kept"), rows)


def _pair_flow(facts: CardFacts) -> Waterfall:
    losses = tuple(("pairs", reason, number) for reason, number in _counted(drop.reason for drop in facts.drops))
    return Waterfall("pairs", len(facts.kept) + len(facts.drops), losses)


def _pairs_of(counts: Mapping[str, int], what: str, number: str) -> Table:
    rows = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return Table((what, number), tuple(rows))


def _counted(names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(names).items()))


def _copies(facts: CardFacts) -> Table:
    rows = tuple(
        (copy.reason, f"{copy.similarity:.2f}", copy.source_path, item.document.source_path)
        for item in facts.documents
        for copy in item.copies
        if copy.reason != "superseded"
    )
    return Table(("reason", "Jaccard", "dropped", "stays"), rows[:12])


def _contradictions(report: CurationReport) -> Bullets:
    items = (
        f"{one.dropped_as_of}: “{_short(one.dropped_text)}” (`{one.dropped_path}`) gave way to {one.kept_as_of}: "
        f"“{_short(one.kept_text)}” (`{one.kept_path}`)"
        for one in report.contradictions[:8]
    )
    return Bullets(tuple(items))


def _lengths(facts: CardFacts) -> tuple[tuple[object, ...], ...]:
    texts = {
        "question": sorted(len(pair.question) for pair in facts.kept),
        "answer": sorted(len(pair.answer) for pair in facts.kept),
        "document": sorted(len(item.document.text) for item in facts.documents),
    }
    return tuple((name, sizes[0], sizes[len(sizes) // 2], sizes[-1]) for name, sizes in texts.items() if sizes)


def _licences(facts: CardFacts) -> tuple[tuple[str, int], ...]:
    rows = (*facts.train, *facts.evaluation)
    documents = {(passage.licence, passage.source_path) for row in rows for passage in row.passages}
    return _counted(licence for licence, _ in documents)


def _attribution(facts: CardFacts) -> Bullets:
    used = {passage.source_path for row in (*facts.train, *facts.evaluation) for passage in row.passages}
    lines = sorted(
        {
            f"{item.document.title}, {item.document.provenance.author or 'author unknown'}, "
            f"{item.document.provenance.url or item.document.source_path}, {item.document.provenance.licence}"
            for item in facts.documents
            if item.document.source_path in used
        }
    )
    more = len(lines) - _ATTRIBUTIONS_MAX
    return Bullets((*lines[:_ATTRIBUTIONS_MAX], *([f"and {more} more, in the rows themselves"] if more > 0 else [])))


def _leakage(facts: CardFacts) -> Sequence[Content]:
    leaks = sum(drop.reason == "leakage" for drop in facts.drops)
    own = {row.pair.source_path for row in facts.evaluation if row.pair.source_path}
    shown = sum(any(passage.source_path in own for passage in row.passages) for row in facts.train)
    said = (
        f"The parts share no document and no thread. {leaks} training pairs were dropped because a question or answer "
        f"is like one of the evaluation part (Jaccard >= {LEAK_SIMILARITY} on character 5-grams), holds its question, "
        f"or at least {LEAK_NGRAM_SHARE:.0%} of its word {NGRAM_WORDS}-grams stand there. Of the word "
        f"{NGRAM_WORDS}-grams of the evaluation answers, {facts.ngram_overlap:.2%} also stand in a training answer. "
        f"From text to train on, {sum(leak.what == 'question' for _, leak in facts.text_leaks)} evaluation questions "
        f"and {sum(leak.what == 'answer' for _, leak in facts.text_leaks)} answers (at least {ANSWER_SHARE_MIN:.0%} of "
        f"their {ANSWER_NGRAM_WORDS}-grams) were taken out with their paragraphs. {shown} training prompts show a "
        "passage of an evaluation document, as the gateway would; the loss is on answers only."
    )
    rows = tuple((path, leak.what, leak.pair_id, f"{leak.share:.0%}") for path, leak in facts.text_leaks)
    return (said, Table(("document", "held", "of the evaluation pair", "share"), rows[:12]))


def _difference(facts: CardFacts, previous: DatasetManifest) -> Table:
    now = Counter(drop.reason for drop in facts.drops)
    figures: list[tuple[str, int, int]] = [
        ("training rows", previous.train_samples, len(facts.train)),
        ("evaluation rows", previous.evaluation_samples, len(facts.evaluation)),
        ("pairs kept", previous.pairs_kept, len(facts.kept)),
        *((f"dropped: {name}", previous.drops.get(name, 0), now[name]) for name in sorted({*previous.drops, *now})),
    ]
    rows = tuple((name, before, after, f"{after - before:+d}") for name, before, after in figures)
    return Table(("figure", previous.id, facts.dataset_id, "difference"), rows)


def _kept_example(pair: Pair) -> str:
    return f"**{_short(pair.question)}** {_short(pair.answer)} (`{pair.source_path or 'refusal'}`)"


def _spread(pairs: Sequence[Pair]) -> Sequence[Pair]:
    return pairs[:: max(1, len(pairs) // _EXAMPLES_KEPT)][:_EXAMPLES_KEPT]


def _dropped(facts: CardFacts) -> Bullets:
    lines = []
    for reason in sorted({drop.reason for drop in facts.drops}):
        for drop in [drop for drop in facts.drops if drop.reason == reason][:_EXAMPLES_PER_REASON]:
            detail = f" ({_short(drop.detail)})" if drop.detail else ""
            lines.append(f"`{reason}`{detail}: {_short(drop.pair.question)}")
    for reason in sorted({gone.reason for gone in facts.document_drops}):
        for gone in [gone for gone in facts.document_drops if gone.reason == reason][:_EXAMPLES_PER_REASON]:
            lines.append(f"`{reason}` ({gone.scope}) {gone.source_path}: {_short(gone.excerpt)}")
    return Bullets(tuple(lines))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXAMPLE_CHARACTERS else f"{flat[: _EXAMPLE_CHARACTERS - 1]}…"
