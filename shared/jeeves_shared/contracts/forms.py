"""The forms of a data set beside its samples: preference pairs, and text for continued pre-training.

A `DatasetManifest` names their files under `exports`; `find_form` finds one. Every row says where it comes from.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.manifests import ArtifactRef

DatasetPart = Literal["train", "evaluation"]
DatasetForm = Literal["messages", "alpaca", "sharegpt", "preference", "text"]

PreferenceOrigin = Literal["answers", "correction", "grounding"]
"""How one answer is known to be better than another.

`answers`: the accepted (or best) answer of a thread against one with a lower score. `correction`: what a reviewer made
of an answer, against the answer as it was given. `grounding`: the answer against a refusal where the passages hold it,
and a refusal against the answer where they do not.
"""


class FormRow(Contract):
    """What every row says of its origin. Written by the curator; read by the trainer and by other programs."""

    id: str = Field(description="Unique in its file.")
    source_path: str = Field(description="Of its document; empty for a refusal.")
    url: str = Field(description="Address of the document; empty if there is none.")
    licence: str = Field(description="SPDX expression; empty where no document stands behind the row.")
    attribution: str = Field(description="Title, author, address and licence, for people.")


class ChatTurn(Contract):
    """One message. Written by the curator, read by the trainer."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class PreferenceRow(FormRow):
    """Two answers to one prompt. Written by the curator, read by the trainer's stage `dpo`.

    `train.preference.jsonl` and `evaluation.preference.jsonl` hold lines of this type; TRL reads them as they are.
    """

    prompt: tuple[ChatTurn, ...] = Field(min_length=1, description="System and user turns, as the gateway builds them.")
    chosen: tuple[ChatTurn, ...] = Field(min_length=1, description="The better answer, one assistant turn.")
    rejected: tuple[ChatTurn, ...] = Field(min_length=1, description="The worse one, one assistant turn.")
    origin: PreferenceOrigin


class TextRow(FormRow):
    """A piece of a document under its headings. Written by the curator, read by the trainer's stage `cpt`.

    `train.text.jsonl` and `evaluation.text.jsonl` hold lines of this type; the latter has documents of the evaluation
    part only, to measure perplexity on, never to train on.
    """

    text: str = Field(min_length=1, description="Markdown that begins with the titles above it; some 2,000 tokens.")
    language: str = Field(description="BCP 47 tag.")
    as_of: str = Field(description="Date that the text speaks of; empty: unknown.")


def form_file(part: DatasetPart, form: DatasetForm, ending: Literal["jsonl", "parquet"] = "jsonl") -> str:
    """Name of the file of a form, such as `train.text.jsonl`."""
    return f"{part}.{form}.{ending}"


def find_form(exports: Sequence[ArtifactRef], part: DatasetPart, form: DatasetForm) -> ArtifactRef | None:
    """The JSON Lines of a form, or None if the data set has no row of it.

    Args:
        exports: of the data set's manifest.
        part: training or evaluation.
        form: which rows.
    """
    wanted = form_file(part, form)
    return next((ref for ref in exports if ref.name == wanted), None)
