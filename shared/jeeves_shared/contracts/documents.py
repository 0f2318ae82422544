"""Documents and question-answer pairs: what flows from sources to data sets."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract

DocumentKind = Literal["reference", "how-to", "question", "log", "release-note"]
PairKind = Literal["how-to", "concept", "syntax", "error", "refusal"]


class Provenance(Contract):
    """Where a document came from. Written by the collector; kept by everything after it."""

    url: str = Field(description="Public address that a reader can open; empty if there is none.")
    retrieved_at: datetime = Field(description="When the bytes were read, UTC. Not part of any identity.")
    licence: str = Field(description="SPDX identifier, or `NOASSERTION`.")
    author: str = Field(description="Author or rights holder for the attribution line; empty if unknown.")
    sha256: str = Field(description="Of the source bytes, 64 hexadecimal digits.")
    source_revision: str = Field(default="", description="Git commit, ETag or the like; empty if the source has none.")
    route: str = Field(
        default="", description="How it came where terms differ by the way: `api`, `dump`, `data-explorer`; else empty."
    )


class CollectedAnswer(Contract):
    """One answer to a question, or one later post of a thread. Part of a `Document` of kind `question`."""

    text: str = Field(description="Markdown.")
    score: int = Field(default=0, description="Votes, or likes.")
    accepted: bool = False
    author: str = ""
    url: str = ""
    licence: str = "NOASSERTION"
    created_at: datetime | None = None


class Document(Contract):
    """One document as Markdown. Written by the collector, read by the curator.

    Shards of a collection are JSON Lines of this type, sorted by `source_path`.
    """

    schema_version: Literal[1] = 1
    source_path: str = Field(description="`<source name>/<path inside the source>`, unique in its collection.")
    title: str
    section_path: tuple[str, ...] = Field(default=(), description="Titles of the navigation above the document.")
    language: str = Field(default="en", description="BCP 47 tag.")
    kind: DocumentKind = "reference"
    text: str = Field(description="Markdown; code in fences with their language; headings with `#`.")
    provenance: Provenance
    question: str = Field(default="", description="Of kind `question`: its Markdown alone; `text` has the answers too.")
    answers: tuple[CollectedAnswer, ...] = Field(default=(), description="In the order of the source.")
    tags: tuple[str, ...] = ()
    score: int = Field(default=0, description="Votes or likes of the question.")


class Pair(Contract):
    """A question with its right answer. Written by the curator (and by hand for the starter pack).

    Read by the trainer, as training or evaluation data.
    """

    schema_version: Literal[1] = 1
    id: str
    kind: PairKind
    question: str
    answer: str
    key_terms: tuple[str, ...] = Field(default=(), description="Facts that a right answer contains, literally.")
    source_path: str = Field(description="Document that supports the answer; empty for a refusal.")
    section: str = Field(default="", description="Title of the section that supports the answer.")
    must_not: tuple[str, ...] = Field(default=(), description="Strings that only a wrong answer contains.")


class Passage(Contract):
    """A piece of a section as it is put before a model, and as it is cited.

    Written by the search index; read by the gateway (prompt, citations) and the trainer (prompts of a data set).
    """

    section_id: str
    source_path: str
    url: str
    title: str = Field(description="Title of the document.")
    section: str = Field(description="Title of the section; equal to `title` for the text before the first heading.")
    text: str = Field(description="Markdown.")
    licence: str


class TrainingSample(Contract):
    """One row of a data set: a pair, and the passages that stand in its prompt. Written by curator, read by trainer.

    The trainer renders it with `jeeves_shared.contracts.prompts.build_messages`, as the gateway does.
    """

    schema_version: Literal[1] = 1
    pair: Pair
    passages: tuple[Passage, ...] = Field(default=(), description="In prompt order; empty for closed-book samples.")
    answerable: bool = Field(description="False when the right answer is a refusal.")
