"""Sentence vectors from the static token embeddings inside the `wordllama` package: numpy only, never the network.

The package's own loader is not used: importing it configures the root logger, pulls an HTTP client in, and it may
download. Its two files (a safetensors matrix and a tokenizer) are read directly; the dependency is pinned for that.

A text's vector is the mean of its tokens' vectors, each weighted down when the token is common (`a / (a + p)`).
Source: Arora, Liang, Ma, A Simple but Tough-to-Beat Baseline for Sentence Embeddings, ICLR 2017 (SIF weights).
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from jeeves_shared.search.errors import EmbedderMissing

Vectors = npt.NDArray[np.float32]

EMBEDDER = "wordllama-l2-supercat-256"
DIMENSIONS = 256
VOCABULARY = 32000

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_SMOOTHING = 1e-3
"""The `a` of the SIF weights; the paper finds results flat between 1e-4 and 1e-3."""

_STEPS = 16
"""Weights to the octave: so coarse that a changed document leaves the weights of the words that it does not hold alone,
and with them the vectors of other documents."""


class TokenEmbedder:
    """Turns texts into vectors. Safe to share between threads: it holds no state that changes.

    Args:
        folder: of the installed `wordllama` package.

    Raises:
        EmbedderMissing: its files are not there or not as expected.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with safe_open(str(folder / _WEIGHTS), framework="np") as file:
                matrix: npt.NDArray[np.float16] = file.get_tensor("embedding.weight")
            self._tokenizer = Tokenizer.from_str((folder / _TOKENIZER).read_text(encoding="utf-8"))
        except (OSError, SafetensorError, ValueError) as exc:
            raise EmbedderMissing(f"The embedding files in {folder} cannot be read: reinstall `wordllama`.") from exc
        self._matrix = matrix.astype(np.float16, copy=False)
        if self._matrix.shape != (VOCABULARY, DIMENSIONS):
            raise EmbedderMissing(f"The embedding matrix has shape {self._matrix.shape}: install `wordllama` 0.4.")
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def token_ids(self, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
        """Token ids of each text."""
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.minimum(np.asarray(item.ids, dtype=np.int64), VOCABULARY - 1) for item in encoded]

    def embed(self, texts: Sequence[str], weights: npt.NDArray[np.float32]) -> Vectors:
        """Unit vectors of texts.

        Args:
            texts: any number.
            weights: one weight per token of the vocabulary, shape (`VOCABULARY`,), from `token_weights`.

        Returns:
            Shape (texts, `DIMENSIONS`); an empty text gives the zero vector.
        """
        result = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, ids in enumerate(self.token_ids(texts)):
            if len(ids) == 0:
                continue
            pooled = np.einsum("t,td->d", weights[ids], self._matrix[ids].astype(np.float32))
            norm = float(np.linalg.norm(pooled))
            if norm > 0:
                result[row] = pooled / norm
        return result


def token_weights(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Weight of each token of the vocabulary by how often a collection uses it.

    Args:
        counts: occurrences, shape (`VOCABULARY`,).

    Source: SIF weights, a / (a + p(token)); see the module.
    """
    total = max(int(counts.sum()), 1)
    weights = _SMOOTHING / (_SMOOTHING + counts / total)
    return np.exp2(np.round(np.log2(weights) * _STEPS) / _STEPS).astype(np.float32)


@lru_cache(maxsize=1)
def load_embedder() -> TokenEmbedder:
    """The embedder of this installation, loaded once per process (0.2 s, some 45 MiB).

    Raises:
        EmbedderMissing: `wordllama` is not installed or its files are not as expected.
    """
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise EmbedderMissing("The package `wordllama` is not installed: install `jeeves-shared[search]`.")
    return TokenEmbedder(Path(spec.origin).parent)
