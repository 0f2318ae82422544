"""The tokenizer of a base model: made equal to the engine's, and proven to be.

transformers rebuilds a tokenizer from a GGUF file without the pre-tokenizer that the file names, so that some texts are
cut differently in training and in serving: with SmolLM2, two line breaks before a digit became two tokens instead of
one (in 6 of 664 prompts of the starter pack, transformers 5.23).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase

from jeeves_shared.engine.gguf import GgufMetadata
from jeeves_trainer.errors import TokenizerMismatch
from jeeves_trainer.libllama import open_vocabulary

PRE_TOKENIZER_KEY = "tokenizer.ggml.pre"
_SINGLE_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
"""llama.cpp's names of pre-tokenizers that split digits off one by one, then words as GPT-2 does.

Source: src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM and those beside it.
"""


def repair_pre_tokenizer(tokenizer: PreTrainedTokenizerBase, metadata: GgufMetadata) -> None:
    """Give a tokenizer that was read from a GGUF file the pre-tokenizer that the file names, where it is known.

    Args:
        tokenizer: changed in place.
        metadata: of the GGUF file.
    """
    if metadata.values.get(PRE_TOKENIZER_KEY) not in _SINGLE_DIGITS:
        return
    rebuilt: Any = tokenizer
    rebuilt.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def check_tokens(gguf: Path, texts: Sequence[str], expected: Sequence[Sequence[int]]) -> None:
    """Check that the engine cuts texts into the tokens that were trained with.

    Args:
        gguf: the converted model.
        texts: rendered prompts.
        expected: token ids of each, from training.

    Raises:
        TokenizerMismatch: some text is cut differently.
    """
    with open_vocabulary(gguf) as vocabulary:
        wrong = [text for text, ids in zip(texts, expected, strict=True) if vocabulary.tokenize(text) != list(ids)]
    if wrong:
        raise TokenizerMismatch(
            f"{len(wrong)} of {len(texts)} prompts are cut into other tokens by the engine than in training, "
            f"the first one ends with {wrong[0][-80:]!r}: this base model's pre-tokenizer is not supported."
        )
