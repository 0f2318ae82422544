"""Does a file still say what was trained? Its tokens, its first choices and its distribution against BF16.

Source of the figures: llama.cpp, tools/perplexity/README.md (mean KL divergence, same top token, perplexity ratio).
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jeeves_shared.contracts.manifests import RoundTrip
from jeeves_shared.contracts.recipes import RoundTripBounds
from jeeves_trainer.errors import RoundTripFailed, TokenizerMismatch
from jeeves_trainer.libllama import Scorer, open_scorer
from jeeves_trainer.rendering import RenderedSample

ANSWER_TOKENS_MAX = 64
"""Of a probe: a distribution over 150,000 tokens takes 600 kB a position."""


@dataclass(frozen=True)
class Probe:
    """A prompt and its answer, as they were trained.

    Attributes:
        prompt_text: control tokens included.
        prompt_ids, answer_ids: its tokens in training; the answer's end token included where it fits.
    """

    prompt_text: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


def choose_probes(samples: Sequence[RenderedSample], count: int) -> list[Probe]:
    """The shortest of some samples: enough to see drift, quick to compute.

    Args:
        samples: held out.
        count: most to take.
    """
    shortest = sorted(samples, key=lambda sample: (sample.tokens, sample.prompt_text))[:count]
    return [Probe(sample.prompt_text, sample.prompt_ids, sample.answer_ids[:ANSWER_TOKENS_MAX]) for sample in shortest]


def probe_lines(probes: Sequence[Probe]) -> bytes:
    """Probes as JSON Lines."""
    return "".join(f"{json.dumps(asdict(probe))}\n" for probe in probes).encode()


def read_probes(data: bytes) -> list[Probe]:
    """Probes of JSON Lines that `probe_lines` made."""
    rows = [json.loads(line) for line in data.decode().splitlines()]
    return [Probe(row["prompt_text"], tuple(row["prompt_ids"]), tuple(row["answer_ids"])) for row in rows]


class Reference:
    """What the BF16 file says about some probes, computed once.

    Args:
        gguf: the BF16 file.
        probes: at least one.
        threads: at least 1.
        tick: called before each probe; may raise to stop.

    Raises:
        TokenizerMismatch: the file cuts a probe into other tokens than training did.
        EvaluationFailed: it cannot be loaded.
    """

    def __init__(self, gguf: Path, probes: Sequence[Probe], threads: int, tick: Callable[[], None]) -> None:
        self._probes = probes
        self._threads = threads
        self._tick = tick
        self._distributions = self._of(gguf)

    def compare(self, gguf: Path) -> RoundTrip:
        """Figures of another file of the same model.

        Raises:
            TokenizerMismatch, EvaluationFailed: as the constructor.
        """
        ours, theirs = self._distributions, self._of(gguf)
        divergence, agreeing, nats_ours, nats_theirs, positions = 0.0, 0, 0.0, 0.0, 0
        for probe, one, other in zip(self._probes, ours, theirs, strict=True):
            rows = np.arange(len(probe.answer_ids))
            divergence += float((np.exp(one) * (one - other)).sum())
            agreeing += int((one.argmax(axis=1) == other.argmax(axis=1)).sum())
            nats_ours -= float(one[rows, list(probe.answer_ids)].sum())
            nats_theirs -= float(other[rows, list(probe.answer_ids)].sum())
            positions += len(rows)
        return RoundTrip(
            probes=len(self._probes),
            positions=positions,
            mean_kl_divergence=max(0.0, divergence / positions),
            greedy_agreement=agreeing / positions,
            perplexity=math.exp(nats_theirs / positions),
            reference_perplexity=math.exp(nats_ours / positions),
        )

    def _of(self, gguf: Path) -> list[npt.NDArray[np.float32]]:
        longest = max(len(probe.prompt_ids) + len(probe.answer_ids) for probe in self._probes)
        with open_scorer(gguf, longest + 8, self._threads) as scorer:
            return [self._distribution(scorer, probe, gguf.name) for probe in self._probes]

    def _distribution(self, scorer: Scorer, probe: Probe, name: str) -> npt.NDArray[np.float32]:
        self._tick()
        if scorer.vocabulary.tokenize(probe.prompt_text) != list(probe.prompt_ids):
            raise TokenizerMismatch(
                f"{name} cuts a prompt into other tokens than training did: its tokenizer was changed. "
                "Convert the model again from its training."
            )
        return scorer.answer_distributions(probe.prompt_ids, probe.answer_ids)


def check_bounds(found: RoundTrip, quantization: str, bounds: RoundTripBounds, name: str) -> None:
    """Check figures against a recipe's bounds.

    Args:
        found: of the file.
        quantization: its type; one without bounds of its own may not drift more than the loosest.
        bounds: of the recipe.
        name: of the file, for people.

    Raises:
        RoundTripFailed: with every bound that is exceeded.
    """
    limit = bounds.kl_divergence_max.get(quantization, max(bounds.kl_divergence_max.values()))
    change = found.perplexity / found.reference_perplexity - 1
    allowed = bounds.perplexity_change_max.get(quantization, max(bounds.perplexity_change_max.values()))
    mistakes = tuple(
        text
        for exceeded, text in (
            (not found.mean_kl_divergence <= limit, f"KL divergence {found.mean_kl_divergence:.4f} exceeds {limit:g}"),
            (not change <= allowed, f"perplexity is {change:+.1%}, {allowed:.1%} is allowed"),
        )
        if exceeded
    )
    if mistakes:
        raise RoundTripFailed(f"{name} differs too much from BF16: {'; '.join(mistakes)}.", mistakes)
