"""How much a paragraph tells an administrator or an author of pipelines: logistic regression on sentence embeddings.

Weights are numbers in a JSON file beside this module, fitted on the labels beside it (paragraph hash, path, label of
two passes; no text). What is kept is drawn from a Pareto distribution, so that a wrong score silences no topic.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from jeeves_curator.documents.blocks import blocks, joined, prose, without_empty_sections
from jeeves_curator.split import draw
from jeeves_shared.search.embedding import DIMENSIONS, EMBEDDER, VOCABULARY, load_embedder

PARETO_SHAPE = 9.0
"""Source: Brown et al. 2020, appendix A: kept if a Pareto draw of shape 9 exceeds 1 - score."""

_WORDS_MIN = 6
_SURFACE = 6
_RIDGE = 2.0
_LINK = re.compile(r"\]\([^()]*\)|https?://")
_CODE = re.compile(r"`[^`\n]+`")
_DATE = re.compile(r"\b(?:19|20)\d\d\b|\b\d+\.\d+\.\d+\b|#\d{3,}|\bv?[0-9a-f]{8,}\b")

Matrix = npt.NDArray[np.float64]


class Label(BaseModel):
    """A paragraph that was judged. The text itself stays with its source.

    Attributes:
        sha256: first 24 digits of the hash of its text with single blanks.
        source_path: of its document.
        url: of its document.
        label: 1 useful, 0 not, by the first pass.
        second: by the second pass.
    """

    sha256: str
    source_path: str
    url: str
    label: int
    second: int


class Fit(BaseModel):
    """Weights and how good they are; what `data/quality.json` holds.

    Attributes:
        embedder: whose vectors the weights belong to.
        labels: number of paragraphs they were fitted on.
        held_out: paragraphs of the fifth that the following figures are of.
        precision, recall: at 0.5, against the first pass, by weights fitted on the other four fifths; in [0, 1].
        agreement: share of paragraphs with the same label in both passes, in [0, 1].
        kappa: the same beyond chance, in [-1, 1]. Source: Cohen 1960.
        weights: `_SURFACE` + `DIMENSIONS` + 1 numbers, the intercept last.
    """

    embedder: str
    labels: int
    held_out: int
    precision: float
    recall: float
    agreement: float
    kappa: float
    weights: tuple[float, ...]


def paragraph_hash(text: str) -> str:
    """Hash of a paragraph, whatever its line breaks, 24 hexadecimal digits."""
    return sha256(" ".join(text.split()).encode("utf-8")).hexdigest()[:24]


def judged_paragraphs(text: str) -> list[str]:
    """The paragraphs of a Markdown text that have a quality: prose of at least six words."""
    return [
        block.text
        for block in blocks(text)
        if not block.is_code and not block.is_heading and len(prose(block.text).split()) >= _WORDS_MIN
    ]


def features(paragraphs: Sequence[str]) -> Matrix:
    """Surface figures, the sentence embedding, and a one.

    Returns:
        Shape (paragraphs, `_SURFACE` + `DIMENSIONS` + 1).
    """
    vectors = load_embedder().embed(list(paragraphs), np.ones(VOCABULARY, dtype=np.float32))
    surface = np.asarray([_surface(text) for text in paragraphs], dtype=np.float64).reshape(-1, _SURFACE)
    ones = np.ones((len(paragraphs), 1))
    return np.concatenate((surface, 4.0 * vectors.astype(np.float64), ones), axis=1)


def _surface(text: str) -> tuple[float, ...]:
    words = max(len(prose(text).split()), 1)
    return (
        min(words / 40, 2.0),
        min(len(_LINK.findall(text)) * 8 / words, 2.0),
        min(len(_CODE.findall(text)) * 8 / words, 2.0),
        min(len(_DATE.findall(text)) * 8 / words, 2.0),
        float(text.rstrip().endswith((".", "。", ":", "`"))),
        float(bool(re.match(r"\s*(?:[-*]|\d+\.)\s", text))),
    )


def fit_weights(labels: Sequence[Label], texts: dict[str, str]) -> Fit:
    """Fit on four fifths of the labels, judge on the rest, then fit on all.

    Args:
        labels: of paragraphs.
        texts: by hash; labels without a text are left out.

    Source: iteratively reweighted least squares; Bishop, Pattern Recognition and Machine Learning, section 4.3.3.
    """
    known = [label for label in labels if label.sha256 in texts]
    inputs = features([texts[label.sha256] for label in known])
    wanted = np.asarray([label.label for label in known], dtype=np.float64)
    held_out = np.asarray([is_held_out(label) for label in known])
    guessed = _probability(inputs[held_out], _solve(inputs[~held_out], wanted[~held_out])) >= 0.5
    right = float(np.sum(guessed & (wanted[held_out] == 1)))
    agreement, kappa = passes_agree([label for label, is_held in zip(known, held_out, strict=True) if is_held])
    return Fit(
        embedder=EMBEDDER,
        labels=len(known),
        held_out=int(np.sum(held_out)),
        precision=round(right / max(float(np.sum(guessed)), 1.0), 4),
        recall=round(right / max(float(np.sum(wanted[held_out])), 1.0), 4),
        agreement=round(agreement, 4),
        kappa=round(kappa, 4),
        weights=tuple(round(float(weight), 6) for weight in _solve(inputs, wanted)),
    )


def passes_agree(labels: Sequence[Label]) -> tuple[float, float]:
    """Share of labels that both passes agree on, and Cohen's kappa; 1.0 twice without labels."""
    if not labels:
        return 1.0, 1.0
    same = sum(label.label == label.second for label in labels) / len(labels)
    first, second = (sum(each) / len(labels) for each in zip(*((x.label, x.second) for x in labels), strict=True))
    chance = first * second + (1 - first) * (1 - second)
    return same, (same - chance) / (1 - chance) if chance < 1 else 1.0


def is_held_out(label: Label) -> bool:
    """True if a label judges the weights instead of fitting them: one in five, always the same."""
    return draw(17, "quality", label.sha256) < 0.2


def _solve(inputs: Matrix, wanted: Matrix) -> Matrix:
    weights = np.zeros(inputs.shape[1])
    penalty = _RIDGE * np.eye(inputs.shape[1])
    penalty[-1, -1] = 0.0
    for _ in range(20):
        guessed = _probability(inputs, weights)
        slope = inputs.T @ (guessed - wanted) + penalty @ weights
        curve = (inputs * (guessed * (1 - guessed))[:, None]).T @ inputs + penalty
        weights = weights - np.linalg.solve(curve, slope)
    return weights


def _probability(inputs: Matrix, weights: Matrix) -> Matrix:
    result: Matrix = 1.0 / (1.0 + np.exp(-np.clip(inputs @ weights, -30.0, 30.0)))
    return result


def shipped_labels() -> list[Label]:
    """The labels that come with this version."""
    text = files("jeeves_curator").joinpath("data/labels.jsonl").read_text(encoding="utf-8")
    return [Label.model_validate_json(line) for line in text.splitlines()]


@lru_cache(maxsize=1)
def shipped_fit() -> Fit:
    """The weights that come with this version, and how good they are.

    Raises:
        ValueError: the file belongs to another embedding model.
    """
    fit = Fit.model_validate_json(files("jeeves_curator").joinpath("data/quality.json").read_bytes())
    if fit.embedder != EMBEDDER or len(fit.weights) != _SURFACE + DIMENSIONS + 1:
        raise ValueError(f"data/quality.json is for {fit.embedder}, not {EMBEDDER}: fit it again")
    return fit


def scores(paragraphs: Sequence[str]) -> list[float]:
    """Probability of each paragraph to be useful, in [0, 1]."""
    if not paragraphs:
        return []
    return [float(value) for value in _probability(features(paragraphs), np.asarray(shipped_fit().weights))]


def is_drawn(score: float, text: str, seed: int) -> bool:
    """True if a paragraph is kept: surely with a score of 1, now and then with a score of 0.

    Args:
        score: in [0, 1].
        text: its hash and the seed decide, so that the same input gives the same draw.
        seed: of the recipe.
    """
    pareto = (1.0 - draw(seed, "pareto", paragraph_hash(text))) ** (-1.0 / PARETO_SHAPE) - 1.0
    return pareto > 1.0 - score or score >= 0.5


@dataclass(frozen=True)
class Graded:
    """Documents after the draw.

    Attributes:
        texts: by path, without the paragraphs that were not drawn.
        scores: of all paragraphs.
        left_out: number of paragraphs that were not drawn.
    """

    texts: dict[str, str]
    scores: list[float]
    left_out: int


def grade(documents: Iterable[tuple[str, str]], seed: int) -> Graded:
    """Score all paragraphs and draw which ones text to train on is made of; code and headings always stay.

    Args:
        documents: path and text of each.
        seed: of the recipe.
    """
    texts: dict[str, str] = {}
    every: list[float] = []
    left_out = 0
    for path, text in documents:
        judged = judged_paragraphs(text)
        known = dict(zip(judged, scores(judged), strict=True))
        every += known.values()
        parts = blocks(text)
        kept = [part for part in parts if part.text not in known or is_drawn(known[part.text], part.text, seed)]
        left_out += len(parts) - len(kept)
        texts[path] = joined(without_empty_sections(kept)) if len(kept) < len(parts) else text
    return Graded(texts, every, left_out)


def histogram(values: Iterable[float]) -> tuple[tuple[str, int], ...]:
    """Number of scores by tenth."""
    tenths = [min(int(value * 10), 9) for value in values]
    return tuple((f"{tenth / 10:.1f}", tenths.count(tenth)) for tenth in range(10))
