"""Pairs with the passages that stand in their prompt, as the gateway will put them there."""

from collections.abc import Callable, Iterator, Sequence

from jeeves_curator.split import draw
from jeeves_curator.support import SupportFinder
from jeeves_shared.contracts.documents import Pair, Passage, TrainingSample
from jeeves_shared.contracts.prompts import PASSAGES_IN_PROMPT, REFUSAL
from jeeves_shared.contracts.recipes import CurateRecipe
from jeeves_shared.search import SearchIndex

_HITS = 12
"""Looked at for distractors: some are the pair's own document, some support the answer too."""

UNANSWERABLE = "-unanswerable"
"""What the id of a pair ends with that is asked without its passage."""


class SampleMaker:
    """Turns pairs into rows of a data set.

    Args:
        index: that the passages come from.
        finder: finds the supporting section.
        recipe: shares and seed.
    """

    def __init__(self, index: SearchIndex, finder: SupportFinder, recipe: CurateRecipe) -> None:
        self._index = index
        self._finder = finder
        self._recipe = recipe

    def training(self, pairs: Sequence[Pair], watch: Callable[[int], None]) -> list[TrainingSample]:
        """Rows to train on: with passages, some also closed book, some also without their passage.

        Args:
            pairs: of the training part.
            watch: told the number of pairs that are done.
        """
        rows: list[TrainingSample] = []
        for number, pair in enumerate(pairs, start=1):
            rows += self._refusal(pair) if pair.kind == "refusal" else self._supported(pair)
            watch(number)
        return self._with_few_refusals(rows)

    def evaluation(self, pairs: Sequence[Pair], watch: Callable[[int], None]) -> list[TrainingSample]:
        """Rows to judge by: each pair with the hits that the gateway would find, right or wrong.

        A row is answerable if its own document, or another passage that supports the answer, is among them. Where the
        collection brings no refusals, some pairs are also asked without their passage, so that refusing is judged too.
        """
        own_refusals = any(pair.kind == "refusal" for pair in pairs)
        rows: list[TrainingSample] = []
        for number, pair in enumerate(pairs, start=1):
            passages = self._hits(pair.question, PASSAGES_IN_PROMPT)
            answerable = pair.kind != "refusal" and any(
                passage.source_path == pair.source_path or self._finder.supports(passage, pair.answer)
                for passage in passages
            )
            rows.append(TrainingSample(pair=pair, passages=passages, answerable=answerable))
            if not own_refusals:
                rows += self._unanswerable(pair)
            watch(number)
        return rows

    def _with_few_refusals(self, rows: list[TrainingSample]) -> list[TrainingSample]:
        share = self._recipe.refusal_share_max
        allowed = int(share / (1 - share) * sum(row.answerable for row in rows))
        refusals = [row.pair.id for row in rows if not row.answerable]
        kept = set(sorted(refusals, key=lambda pair_id: draw(self._recipe.seed, "refusal", pair_id))[:allowed])
        return [row for row in rows if row.answerable or row.pair.id in kept]

    def _supported(self, pair: Pair) -> Iterator[TrainingSample]:
        support = self._finder.find(pair)
        if support is None:  # The step `supported` has seen to it.
            raise ValueError(f"pair {pair.id} has no support")
        own = self._finder.window(support.section.passage, pair.answer)
        # In the order of the search, as the gateway puts them: a small model learns which place to trust.
        found = self._hits(pair.question, self._recipe.distractors + 1)
        section_id = support.section.passage.section_id
        passages = [own if passage.section_id == section_id else passage for passage in found]
        if own not in passages:
            passages = [*passages[: self._recipe.distractors], own]
        yield TrainingSample(pair=pair, passages=tuple(passages), answerable=True)
        if self._draw("closed-book", pair) < self._recipe.closed_book_share:
            yield TrainingSample(pair=pair, passages=(), answerable=True)
        yield from self._unanswerable(pair)

    def _unanswerable(self, pair: Pair) -> Iterator[TrainingSample]:
        """For some pairs: the question among passages of other documents, and the right answer, a refusal."""
        if self._draw("unanswerable", pair) >= self._recipe.unanswerable_share:
            return
        others = [passage for passage in self._wrong_passages(pair) if passage.source_path != pair.source_path]
        refusal = Pair(
            id=pair.id + UNANSWERABLE, kind="refusal", question=pair.question, answer=REFUSAL, source_path=""
        )
        if others:
            yield TrainingSample(pair=refusal, passages=tuple(others[:PASSAGES_IN_PROMPT]), answerable=False)

    def _refusal(self, pair: Pair) -> Iterator[TrainingSample]:
        yield TrainingSample(pair=pair, passages=self._hits(pair.question, PASSAGES_IN_PROMPT), answerable=False)

    def _wrong_passages(self, pair: Pair) -> tuple[Passage, ...]:
        """Hard distractors: found for the question, but not supporting the answer."""
        return tuple(
            passage for passage in self._hits(pair.question, _HITS) if not self._finder.supports(passage, pair.answer)
        )

    def _hits(self, question: str, limit: int) -> tuple[Passage, ...]:
        return tuple(hit.passage for hit in self._index.search(question, limit))

    def _draw(self, purpose: str, pair: Pair) -> float:
        return draw(self._recipe.seed, purpose, pair.id)


def sample_question(rows: Sequence[TrainingSample]) -> str:
    """A question that shows well what the data set is about: a how-to that the index answers from its own document.

    Returns:
        The first by id of the best kind that there is; empty if no row is answerable.
    """

    def order(row: TrainingSample) -> tuple[bool, bool, bool, str]:
        found_first = bool(row.passages) and row.passages[0].source_path == row.pair.source_path
        return (not found_first, row.pair.kind != "how-to", not row.pair.question.endswith("?"), row.pair.id)

    answerable = [row for row in rows if row.answerable]
    return min(answerable, key=order).pair.question if answerable else ""
