"""The sentence encoder that an index may carry: a small transformer, run on the processor by ONNX Runtime.

The index holds the model's file, so what embedded its sections also embeds its questions, and a gateway that opens it
needs no model of its own. The files run no code of their own: standard operators only, no outside data.

Long texts are cut, so a section has several vectors: one of its headings and first words, which say what it is about,
and one of each further part under the same headings (ADR 0014).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from jeeves_shared.search.arrays import Array
from jeeves_shared.search.errors import IndexUnusable
from jeeves_shared.search.vectors import Positions, Vector, top

TOKENS_MAX = 64
"""Of a text, with the two marks around it."""

STAND_IN = 0.85
"""Share of its static cosine that a section without a sentence vector is given, which is about what the two are to each
other: neither lifted nor pushed down by what is missing."""

_AT_ONCE = 64
"""Texts between two reports of progress, which is also where a job is cancelled."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SentenceModel:
    """The files of an encoder.

    Attributes:
        name: of the model.
        graph: ONNX, with the inputs `tokens` and `mask` and the output `vectors`.
        tokenizer: of the `tokenizers` package, JSON.
    """

    name: str
    graph: bytes
    tokenizer: bytes


class SentenceEncoder:
    """Turns texts into unit vectors. Safe to share between threads.

    Args:
        model: its files.
        threads: texts that are embedded at the same time; the vectors are the same for any number.

    Raises:
        IndexUnusable: the files are damaged.
    """

    def __init__(self, model: SentenceModel, threads: int = 1) -> None:
        # Here, and not above: 18 MiB that an index without an encoder need not cost.
        import onnxruntime  # noqa: PLC0415
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(model.graph, options, providers=["CPUExecutionProvider"])
        except (Fail, InvalidGraph, InvalidProtobuf) as exc:
            raise IndexUnusable(f"The sentence encoder {model.name} is damaged: build the index again.") from exc
        self._threads = threads
        self._tokenizer = Tokenizer.from_str(model.tokenizer.decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(TOKENS_MAX)

    def embed(self, texts: Sequence[str], progress: Callable[[float], None] = lambda _: None) -> Vectors:
        """Unit vectors of texts.

        Args:
            texts: at least one.
            progress: told the share that is done, in [0, 1].

        Returns:
            Shape (texts, width of the model).
        """
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        rows: list[Vectors] = []
        with ThreadPoolExecutor(self._threads) as pool:
            each = pool.map if self._threads > 1 else map
            for start in range(0, len(tokens), _AT_ONCE):
                rows += each(self._vector, tokens[start : start + _AT_ONCE])
                progress(len(rows) / len(tokens))
        return np.stack(rows)

    def _vector(self, tokens: list[int]) -> Vectors:
        # One text at a time: how inputs are made 8 bits wide depends on all that is in them, and a text's vector must
        # not depend on its neighbours.
        ids = np.array([tokens], dtype=np.int64)
        vector: Vectors = self._session.run(["vectors"], {"tokens": ids, "mask": np.ones_like(ids)})[0][0]
        return vector


class SectionSentences:
    """The sentence vectors of an index, if it has any. Safe to share between threads.

    Args:
        name: of the model; empty for an index without one.
        arrays: of the file.

    Raises:
        IndexUnusable: the encoder in the file is damaged.
    """

    def __init__(self, name: str, arrays: Mapping[str, Array]) -> None:
        self._encoder: SentenceEncoder | None = None
        if name:
            graph, tokenizer = (arrays[f"sentence_{part}"].tobytes() for part in ("graph", "tokenizer"))
            self._encoder = SentenceEncoder(SentenceModel(name, graph, tokenizer))
            self._vectors = arrays["sentence_vectors"].astype(np.float32)
            self._positions = np.flatnonzero(arrays["sentence_rows"] >= 0)
            self._starts = arrays["sentence_rows"][self._positions].astype(np.intp)

    def ask(self, question: str) -> Vector:
        """How near a question is to each section that has vectors, in [0, 1]; empty without an encoder.

        A third is the section's beginning, which says what it is about; two thirds are the best of all its parts.

        Args:
            question: as a person typed it.
        """
        if self._encoder is None:
            return np.zeros(0, dtype=np.float32)
        cosines = np.vecdot(self._vectors, self._encoder.embed([question])[0])
        near: Vector = np.maximum((cosines[self._starts] + 2 * np.maximum.reduceat(cosines, self._starts)) / 3, 0)
        return near

    def nearest(self, near: Vector, count: int) -> Positions:
        """The nearest sections.

        Args:
            near: from `ask`.
            count: at most so many.
        """
        return self._positions[top(near, count)] if len(near) else np.zeros(0, dtype=np.intp)

    def similarity(self, near: Vector, positions: Positions, static: Vector) -> Vector:
        """How near some sections are, in [0, 1].

        Args:
            near: from `ask`; all are 0 without an encoder.
            positions: of the sections.
            static: their cosines by the static embeddings, which stand in for what is missing.
        """
        if not len(near):
            return np.zeros(len(positions), dtype=np.float32)
        places = np.minimum(np.searchsorted(self._positions, positions), len(near) - 1)
        known = self._positions[places] == positions
        kept: Vector = np.where(known, near[places], np.maximum(STAND_IN * static, 0)).astype(np.float32)
        return kept
