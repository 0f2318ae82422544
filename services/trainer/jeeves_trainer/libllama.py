"""A thin, typed layer over llama-cpp-python's low-level functions: vocabulary, log-probabilities, quantization.

The high-level `Llama` class keeps the logits of every token in memory and is not thread-safe; what the trainer needs is
small enough to be said directly. Import only in a job's process.
"""

import ctypes
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from jeeves_trainer.errors import EvaluationFailed, QuantizationFailed

logger = logging.getLogger(__name__)

_LOG_LEVEL_WARNING = 3  # Source: enum ggml_log_level in ggml.h
_UBATCH_TOKENS = 512


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _user: Any) -> None:
    if level >= _LOG_LEVEL_WARNING and (message := text.decode("utf-8", errors="replace").strip()):
        logger.debug("llama.cpp: %s", message)


llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()


class Vocabulary:
    """The tokenizer inside a GGUF file.

    Args:
        model: a loaded `llama_model`.
    """

    def __init__(self, model: Any) -> None:
        self._vocabulary = llama_cpp.llama_model_get_vocab(model)
        self.size = int(llama_cpp.llama_vocab_n_tokens(self._vocabulary))
        self.end_token = int(llama_cpp.llama_vocab_eos(self._vocabulary))

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text that was rendered by the chat template: control tokens count, nothing is added.

        Raises:
            EvaluationFailed: the engine refused the text.
        """
        data = text.encode("utf-8")
        buffer = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self._vocabulary, data, len(data), buffer, len(buffer), False, True)
        if count < 0:
            raise EvaluationFailed(f"The engine cannot tokenize a text of {len(data)} bytes.")
        return list(buffer[:count])


@contextmanager
def _open_model(gguf: Path, vocabulary_only: bool) -> Iterator[Any]:
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = vocabulary_only
    parameters.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), parameters)
    if not model:
        raise EvaluationFailed(f"llama.cpp cannot load {gguf.name}: it is damaged, or of an unknown architecture.")
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


@contextmanager
def open_vocabulary(gguf: Path) -> Iterator[Vocabulary]:
    """The tokenizer of a GGUF file; its weights stay on disk.

    Raises:
        EvaluationFailed: llama.cpp cannot load the file.
    """
    with _open_model(gguf, vocabulary_only=True) as model:
        yield Vocabulary(model)


class Scorer:
    """Log-probabilities of answers under a GGUF model.

    Args:
        model: a loaded `llama_model`.
        context: a `llama_context` of it.
        context_tokens: longest prompt and answer together.
    """

    def __init__(self, model: Any, context: Any, context_tokens: int) -> None:
        self.vocabulary = Vocabulary(model)
        self._context = context
        self._context_tokens = context_tokens
        self._held: list[int] = []  # tokens whose keys and values the context holds

    def answer_log_probabilities(self, prompt: Sequence[int], answer: Sequence[int]) -> npt.NDArray[np.float64]:
        """Natural log-probability of each answer token, given the prompt and the answer tokens before it.

        Only the positions that predict an answer token get logits: a vocabulary of 49,152 would otherwise fill
        200 kB a token.

        Args:
            prompt: at least one token.
            answer: with its end token.

        Returns:
            Shape (number of answer tokens,).

        Raises:
            EvaluationFailed: too long for the context, or llama.cpp failed.
        """
        tokens = [*prompt, *answer[:-1]]
        if not prompt or len(tokens) > self._context_tokens:
            raise EvaluationFailed(f"A sample has {len(tokens)} tokens; 1 to {self._context_tokens} fit the context.")
        self._held = []
        logits = self._decode(tokens, start=0, first_output=len(prompt) - 1)
        return _log_softmax_at(logits, np.asarray(answer))

    def answer_distributions(self, prompt: Sequence[int], answer: Sequence[int]) -> npt.NDArray[np.float32]:
        """Natural log-probability of every token at each position of an answer.

        Args:
            prompt: at least one token.
            answer: at least one token.

        Returns:
            Shape (answer tokens, vocabulary).

        Raises:
            EvaluationFailed: too long for the context, or llama.cpp failed.
        """
        tokens = [*prompt, *answer[:-1]]
        if not prompt or len(tokens) > self._context_tokens:
            raise EvaluationFailed(f"A sample has {len(tokens)} tokens; 1 to {self._context_tokens} fit the context.")
        self._held = []
        logits = self._decode(tokens, start=0, first_output=len(prompt) - 1)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64))
        distribution: npt.NDArray[np.float32] = (shifted - log_sum).astype(np.float32)
        return distribution

    def choice_log_probabilities(self, prompt: Sequence[int], choices: Sequence[int]) -> npt.NDArray[np.float64]:
        """Natural log-probability of each of some tokens as the next one after a prompt.

        What the prompt has in common with the one before is not computed again.

        Args:
            prompt: at least one token.
            choices: token ids.

        Returns:
            Shape (number of choices,).

        Raises:
            EvaluationFailed: too long for the context, or llama.cpp failed.
        """
        if not prompt or len(prompt) > self._context_tokens:
            raise EvaluationFailed(f"A question has {len(prompt)} tokens; 1 to {self._context_tokens} fit the context.")
        common = next(
            (at for at, (held, token) in enumerate(zip(self._held, prompt, strict=False)) if held != token),
            min(len(self._held), len(prompt)),
        )
        start = min(common, len(prompt) - 1)
        self._held = []  # until the context holds the prompt
        logits = self._decode(prompt, start=start, first_output=len(prompt) - 1)
        self._held = list(prompt)
        rows = np.repeat(logits, len(choices), axis=0)
        return _log_softmax_at(rows, np.asarray(choices))

    def _decode(self, tokens: Sequence[int], *, start: int, first_output: int) -> npt.NDArray[np.float32]:
        """Logits of the positions from `first_output` on; those before `start` are in the context already."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), 0, start, -1)
        batch = llama_cpp.llama_batch_init(len(tokens) - start, 0, 1)
        try:
            batch.n_tokens = len(tokens) - start
            for row, position in enumerate(range(start, len(tokens))):
                batch.token[row] = tokens[position]
                batch.pos[row] = position
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = 0
                batch.logits[row] = position >= first_output
            status = llama_cpp.llama_decode(self._context, batch)
        finally:
            llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise EvaluationFailed(f"llama.cpp could not evaluate a sample (status {status}).")
        pointer = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, shape=(len(tokens) - first_output, self.vocabulary.size))


def _log_softmax_at(logits: npt.NDArray[np.float32], indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Log of the softmax of each row at one index. Shapes: (rows, vocabulary), (rows,) → (rows,)."""
    highest = logits.max(axis=1)
    log_sum = np.log(np.exp(logits - highest[:, None]).sum(axis=1, dtype=np.float64)) + highest
    chosen: npt.NDArray[np.float64] = logits[np.arange(len(indices)), indices] - log_sum
    return chosen


@contextmanager
def open_scorer(gguf: Path, context_tokens: int, threads: int) -> Iterator[Scorer]:
    """Load a GGUF file to score answers with it.

    Args:
        gguf: any quantization.
        context_tokens: longest prompt and answer together.
        threads: at least 1.

    Raises:
        EvaluationFailed: llama.cpp cannot load the file.
    """
    with _open_model(gguf, vocabulary_only=False) as model:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = context_tokens
        parameters.n_batch = context_tokens
        parameters.n_ubatch = min(_UBATCH_TOKENS, context_tokens)
        parameters.n_threads = parameters.n_threads_batch = threads
        context = llama_cpp.llama_init_from_model(model, parameters)
        if not context:
            raise EvaluationFailed(f"llama.cpp cannot open {gguf.name}: not enough memory for {context_tokens} tokens?")
        try:
            yield Scorer(model, context, context_tokens)
        finally:
            llama_cpp.llama_free(context)


def quantization_types() -> dict[str, int]:
    """llama.cpp's file types by name, such as ``Q8_0``."""
    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    return {
        name.removeprefix(prefix): int(getattr(llama_cpp, name))
        for name in dir(llama_cpp)
        for prefix in prefixes
        if name.startswith(prefix)
    }


def quantize_file(
    source: Path,
    target: Path,
    quantization: str,
    threads: int,
    importance: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> None:
    """Quantize a GGUF file; all its metadata is kept.

    Args:
        source: BF16, F16 or F32.
        target: written, and replaced if it exists.
        quantization: llama.cpp's name, such as ``Q8_0``.
        threads: at least 1.
        importance: mean square of each weight's inputs, by name; types of few bits are fitted with it.

    Raises:
        QuantizationFailed: no such type, or llama.cpp refused the file.
    """
    types = quantization_types()
    if quantization not in types:
        raise QuantizationFailed(
            f"{quantization} is no quantization of llama.cpp; there are {', '.join(sorted(types))}."
        )
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = types[quantization]
    parameters.nthread = threads
    entries = _importance_entries(importance or {})
    if importance:
        parameters.imatrix = entries
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if status != 0:
        raise QuantizationFailed(f"llama.cpp could not quantize {source.name} to {quantization} (status {status}).")


def _importance_entries(importance: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """A C array that ends with an entry without a name; it keeps the vectors alive."""
    entries = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        data = (ctypes.c_float * len(values)).from_buffer_copy(values.astype(np.float32).tobytes())
        entry.name = name.encode()
        entry.data = ctypes.cast(data, ctypes.POINTER(ctypes.c_float))
        entry.size = len(values)
    return entries
