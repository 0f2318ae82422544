"""From samples to token ids: the model's own chat template, and labels on the answer and its end token only."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.prompts import build_messages, neutralize_control_tokens
from jeeves_shared.errors import RecipeError
from jeeves_trainer.errors import BaseModelUnusable

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class RenderedSample:
    """A sample as token ids.

    Attributes:
        prompt_text: what the model reads, control tokens included; ends where the answer begins.
        answer_text: what the model shall write, with its end token.
        prompt_ids: of `prompt_text`.
        answer_ids: of `answer_text`; the only tokens with a label.
    """

    prompt_text: str
    answer_text: str
    prompt_ids: TokenIds
    answer_ids: TokenIds

    @property
    def tokens(self) -> int:
        """Length of prompt and answer together."""
        return len(self.prompt_ids) + len(self.answer_ids)


Unit = tuple[RenderedSample, ...]
"""What is kept together: one sample, or a better and a worse answer to one prompt."""


def template_sha256(template: str) -> str:
    """sha256, 64 hexadecimal digits, of a chat template's text."""
    return hashlib.sha256(template.encode("utf-8")).hexdigest()


class Renderer:
    """Renders samples by a tokenizer's chat template.

    Args:
        tokenizer: with a chat template and an end token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = tokenizer

    @property
    def end_token(self) -> int:
        """Id of the token that closes an answer."""
        return int(self._tokenizer.eos_token_id)

    def render(self, sample: TrainingSample) -> RenderedSample:
        """Render one sample; the prompt is exactly what the gateway would send for it.

        Raises:
            BaseModelUnusable: the template writes an answer otherwise than after its generation prompt, or without
                the end token.
        """
        return self.render_turn(build_messages(sample.pair.question, sample.passages), sample.pair.answer)

    def render_turn(self, messages: Sequence[Mapping[str, object]], answer: str) -> RenderedSample:
        """Render a conversation and the assistant's answer to it.

        Args:
            messages: system and user turns; control tokens in them are the caller's to neutralize.
            answer: control tokens in it are neutralized.

        Raises:
            BaseModelUnusable: as `render`.
        """
        answer = neutralize_control_tokens(answer.strip())
        prompt_text = self._template(messages, add_generation_prompt=True)
        whole_text = self._template([*messages, {"role": "assistant", "content": answer}], add_generation_prompt=False)
        end = self._tokenizer.eos_token
        turn = whole_text.removeprefix(prompt_text)
        if turn == whole_text or end not in turn:
            raise BaseModelUnusable(
                "The chat template does not write an answer after its generation prompt, closed by the end token "
                f"{end}: this base model cannot be tuned as it would be served."
            )
        answer_text = turn[: turn.index(end) + len(end)]
        return RenderedSample(prompt_text, answer_text, self._ids(prompt_text), self._ids(answer_text))

    def render_document(self, heading: str, body: str, max_length_tokens: int) -> list[RenderedSample]:
        """Render a document for continued pre-training: pieces of its text, each under its heading.

        The heading is read, not learned: a long document repeats it, and would teach it more than anything else. Only
        the last piece is closed by the end token.

        Args:
            heading: titles above the text; one line.
            body: Markdown.
            max_length_tokens: of a piece with its heading, which takes at most a quarter of it.
        """
        heading_ids = self._ids(f"{neutralize_control_tokens(heading)}\n\n")[-(max_length_tokens // 4) :]
        room = max_length_tokens - len(heading_ids)
        paragraphs = [
            self._ids(f"{paragraph}\n\n") for paragraph in neutralize_control_tokens(body).strip().split("\n\n")
        ]
        pieces: list[list[int]] = [[]]
        for ids in paragraphs:
            if pieces[-1] and len(pieces[-1]) + len(ids) > room - 1:
                pieces.append([])
            for start in range(0, len(ids), room - 1):  # a paragraph longer than a piece is cut
                if start:
                    pieces.append([])
                pieces[-1] += ids[start : start + room - 1]
        pieces[-1].append(self.end_token)
        prompt_text = self.decode(heading_ids)
        return [RenderedSample(prompt_text, self.decode(piece), heading_ids, tuple(piece)) for piece in pieces if piece]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, control tokens included."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _template(self, messages: Sequence[Any], *, add_generation_prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _ids(self, text: str) -> TokenIds:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def render_all(
    samples: Iterable[TrainingSample], renderer: Renderer, max_length_tokens: int, log: Callable[[str], None]
) -> list[RenderedSample]:
    """Render samples; one that is too long is left out, never cut: a cut prompt or answer teaches something else.

    Args:
        samples: in any order.
        renderer: of the base model.
        max_length_tokens: of prompt and answer together.
        log: told how many were left out.

    Raises:
        RecipeError: nothing is left.
    """
    units = [(renderer.render(sample),) for sample in samples]
    return [sample for (sample,) in within_length(units, max_length_tokens, log)]


def within_length(units: Sequence[Unit], max_length_tokens: int, log: Callable[[str], None]) -> list[Unit]:
    """Those units whose samples are all short enough.

    Args:
        units: samples, or pairs of a better and a worse answer.
        max_length_tokens: of prompt and answer together.
        log: told how many were left out.

    Raises:
        RecipeError: nothing is left.
    """
    kept = [unit for unit in units if all(sample.tokens <= max_length_tokens for sample in unit)]
    if len(kept) < len(units):
        log(f"{len(units) - len(kept)} of {len(units)} samples exceed {max_length_tokens} tokens: left out")
    if not kept:
        raise RecipeError(f"No sample has at most {max_length_tokens} tokens: raise max_length_tokens.")
    return kept
