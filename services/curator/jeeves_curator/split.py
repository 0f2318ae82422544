"""Training and evaluation parts: by document and thread, so that no evaluation answer was read in training."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jeeves_curator.duplicates import NearDuplicates
from jeeves_curator.errors import DatasetTooSmall
from jeeves_curator.leakage import Exam
from jeeves_curator.steps import Drop
from jeeves_shared.contracts.documents import Pair

LEAK_SIMILARITY = 0.7
"""Jaccard similarity of character 5-grams from which a training text gives an evaluation text away: stricter than for
duplicates, because a lost training pair costs little and a known exam question costs the verdict."""

NGRAM_WORDS = 8
"""Length of the word n-grams whose overlap the card reports. Source: 8 to 13 words are usual in decontamination (GPT-3
appendix C uses 13; FLAN and PaLM 8)."""


LEAK_NGRAM_SHARE = 0.4
"""Share of a training answer's word 8-grams that also stand in an evaluation answer from which it gives it away."""

_LEAK_NGRAMS_MIN = 3


def draw(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on the seed and the names only: never on order or on what else there is."""
    digest = hashlib.sha256("\x1f".join((str(seed), *names)).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Split:
    """The two parts.

    Attributes:
        train, evaluation: pairs, sorted by id.
        leaks: training pairs that were dropped because they give an evaluation pair away.
        ngram_overlap: share of the word 8-grams of evaluation answers that a training answer holds, after the drops.
    """

    train: list[Pair]
    evaluation: list[Pair]
    leaks: list[Drop]
    ngram_overlap: float


def split_pairs(pairs: Sequence[Pair], share: float, seed: int, threads: Mapping[str, str] | None = None) -> Split:
    """Split by document or thread, evenly over folders; refusals, which have no document, one by one.

    Args:
        pairs: curated.
        share: of the documents (and refusals) that go to evaluation, in (0, 1).
        seed: changes the draw.
        threads: what documents belong to, by path, where one thread may be several documents.

    Raises:
        DatasetTooSmall: fewer than two documents have pairs.
    """
    whole = threads or {}

    def unit(pair: Pair) -> str:
        """What is never split."""
        return pair.id if pair.kind == "refusal" else whole.get(pair.source_path, pair.source_path)

    documents = sorted({unit(pair) for pair in pairs if pair.kind != "refusal"})
    if len(documents) < 2:
        raise DatasetTooSmall(
            f"Only {len(documents)} document(s) have usable pairs; two are needed, one to train and one to evaluate: "
            "add documents or pairs. The reasons for dropped pairs are in the log of this job."
        )
    chosen = _evaluation_documents(documents, share, seed)
    chosen |= _lowest([pair.id for pair in pairs if pair.kind == "refusal"], share, seed, "refusals")
    ordered = sorted(pairs, key=lambda pair: (pair.id, pair.question))
    evaluation = [pair for pair in ordered if unit(pair) in chosen]
    candidates = [pair for pair in ordered if unit(pair) not in chosen]
    train, leaks = _without_leaks(candidates, evaluation)
    return Split(train, evaluation, leaks, ngram_overlap(train, evaluation))


def _evaluation_documents(documents: Sequence[str], share: float, seed: int) -> set[str]:
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in documents:
        folders[path.rpartition("/")[0]].append(path)
    chosen: set[str] = set()
    for folder, members in sorted(folders.items()):
        chosen |= _lowest(members, share, seed, folder)
    by_draw = sorted(documents, key=lambda path: draw(seed, path))
    # Small collections: each part gets at least one document, the one whose draw is nearest.
    if not chosen:
        chosen.add(by_draw[0])
    if len(chosen) == len(documents):
        chosen.remove(by_draw[-1])
    return chosen


def _lowest(names: Sequence[str], share: float, seed: int, group: str) -> set[str]:
    """The names with the lowest draws; a new name moves at most one other over the border.

    The fraction of a name is rounded at random but fixed for the group, so that many small groups give the right share.
    """
    count = int(share * len(names) + draw(seed, "round", group))
    return set(sorted(names, key=lambda name: draw(seed, name))[:count])


def _without_leaks(candidates: Sequence[Pair], evaluation: Sequence[Pair]) -> tuple[list[Pair], list[Drop]]:
    questions = NearDuplicates(LEAK_SIMILARITY, respect_literals=False)
    answers = NearDuplicates(LEAK_SIMILARITY, respect_literals=False)
    for pair in evaluation:
        questions.add(pair.id, pair.question)
        if pair.kind != "refusal":  # All refusals share one answer.
            answers.add(pair.id, pair.answer)
    exam = Exam(evaluation)
    known = {gram for pair in evaluation if pair.kind != "refusal" for gram in _ngrams(pair.answer)}
    train: list[Pair] = []
    leaks: list[Drop] = []
    for pair in candidates:
        other = questions.find(pair.question) or (answers.find(pair.answer) if pair.kind != "refusal" else None)
        own = _ngrams(pair.answer) if pair.kind != "refusal" else set()
        shared = len(own & known) / len(own) if len(own) >= _LEAK_NGRAMS_MIN else 0.0
        if other is not None:
            leaks.append(Drop(pair, "leakage", f"like {other} of the evaluation part"))
        elif shared >= LEAK_NGRAM_SHARE:
            leaks.append(Drop(pair, "leakage", f"{shared:.0%} of its {NGRAM_WORDS}-grams stand in the evaluation part"))
        elif smuggled := [leak for leak in exam.leaks(f"{pair.question}\n\n{pair.answer}") if leak.what == "question"]:
            leaks.append(Drop(pair, "leakage", f"holds the question of {smuggled[0].pair_id} of the evaluation part"))
        else:
            train.append(pair)
    return train, leaks


def ngram_overlap(train: Iterable[Pair], evaluation: Iterable[Pair]) -> float:
    """Share of the word 8-grams of evaluation answers that also stand in a training answer, in [0, 1]."""
    known = {gram for pair in train if pair.kind != "refusal" for gram in _ngrams(pair.answer)}
    asked = [gram for pair in evaluation if pair.kind != "refusal" for gram in _ngrams(pair.answer)]
    return sum(gram in known for gram in asked) / len(asked) if asked else 0.0


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[start : start + NGRAM_WORDS]) for start in range(len(words) - NGRAM_WORDS + 1)}
