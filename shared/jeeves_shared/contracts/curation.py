"""What the curator does to documents before anything is indexed or learnt from them.

Imported by `recipes` and `manifests`; imports neither.
"""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.documents import Document


class SourceStanding(Contract):
    """How a source stands to the others. Written by people in a recipe, read by the curator."""

    source: str = Field(description="First part of the `source_path` of its documents.")
    as_of: str = Field(
        default="",
        pattern=r"^(\d{4}(-\d{2}(-\d{2})?)?)?$",
        description="Date of its content, as exact as known; empty: unknown.",
    )
    rank: int = Field(default=0, description="Of two copies the one of the higher rank stays.")


class DocumentRules(Contract):
    """Settings of the steps that documents go through."""

    standings: tuple[SourceStanding, ...] = ()
    near_duplicate_similarity: float = Field(default=0.8, gt=0, le=1, description="Jaccard, on word 5-grams.")
    text_characters_max: int = Field(default=400_000, ge=10_000, description="Longer documents are machine-made.")
    stub_characters_min: int = Field(default=40, ge=0, description="Of prose; documents with code are no stubs.")
    released: tuple[str, ...] = Field(
        default=(), description="sha256 of texts in quarantine that a person has read and released."
    )
    flood_documents_min: int = Field(
        default=5, ge=2, description="Documents of one author with the same claim from which it is a flood."
    )
    supersede: bool = Field(default=True, description="Of two versions of a page the newer one stays.")


TaskFamily = Literal["question", "write", "explain", "convert", "log"]


class TeacherSettings(Contract):
    """A model that proposes pairs, behind an OpenAI-compatible address. Its key comes by `JEEVES_TEACHER_KEY`."""

    url: str = Field(description="Up to and with `/v1`.")
    model: str
    families: tuple[TaskFamily, ...] = Field(default=("question",), min_length=1)
    sections_max: int = Field(default=200, ge=1, description="Sections that it is asked about.")
    pairs_per_section: int = Field(default=2, ge=1, le=10)
    timeout_seconds: float = Field(default=120, gt=0)


class MergedCopy(Contract):
    """A copy that was dropped in favour of a document; its provenance stays with that document."""

    source_path: str
    url: str
    licence: str
    author: str
    reason: Literal["duplicate", "near-duplicate", "superseded"]
    similarity: float = Field(ge=0, le=1)


class CuratedDocument(Contract):
    """A document as it is indexed. Written and read by the curator.

    The artifact `documents.jsonl` of a curation holds lines of this type, by `source_path`.
    """

    schema_version: Literal[1] = 1
    document: Document
    copies: tuple[MergedCopy, ...] = ()
    jenkins_version: str = Field(default="", description="Highest release of Jenkins that the text speaks of.")
    as_of: str = Field(default="", description="Date that the text speaks of, or that of its source.")
    outdated_terms: tuple[str, ...] = Field(default=(), description="Terms and features that are no longer current.")
    redactions: dict[str, int] = Field(default_factory=dict, description="Replaced items by kind.")


class DocumentDrop(Contract):
    """A document, or a paragraph of one, that was left out. One reason each."""

    source_path: str
    step: str
    reason: str
    scope: Literal["document", "paragraph"] = "document"
    detail: str = ""
    copy_of: str = Field(default="", description="Path of the document that stays instead.")
    excerpt: str = Field(default="", description="Beginning of the text, redacted and neutralized.")


class QuarantinedDocument(Contract):
    """A document that a person must look at before it is used. Written by the curator, read by people."""

    source_path: str
    sha256: str = Field(description="Of the text as it came; naming it under `released` in a recipe lets it in.")
    reason: str
    detail: str
    author: str
    url: str
    excerpt: str


class Contradiction(Contract):
    """Two passages that say opposite things; the newer one is kept."""

    kept_path: str
    kept_as_of: str
    kept_text: str
    dropped_path: str
    dropped_as_of: str
    dropped_text: str


class StepCount(Contract):
    """What went into a step and what it dropped."""

    step: str
    entered: int = Field(ge=0)
    dropped: dict[str, int] = Field(default_factory=dict, description="By reason.")
    changed: int = Field(default=0, ge=0)


class CurationReport(Contract):
    """Figures of a curation, for its card. Written and read by the curator; a program may read it too."""

    schema_version: Literal[1] = 1
    sources: dict[str, int] = Field(description="Documents that came in, by source.")
    kept: dict[str, int] = Field(description="Documents that stayed, by source.")
    steps: tuple[StepCount, ...]
    paragraph_drops: dict[str, int] = Field(default_factory=dict)
    redactions: dict[str, int] = Field(default_factory=dict)
    redacted_documents: int = 0
    salvaged: int = Field(default=0, description="Documents that failed as a whole and gave good paragraphs.")
    languages: dict[str, int] = Field(default_factory=dict)
    licences: dict[str, int] = Field(default_factory=dict)
    outdated_terms: dict[str, int] = Field(default_factory=dict)
    contradictions: tuple[Contradiction, ...] = ()
    characters_in: int = 0
    characters_kept: int = 0


class ParagraphToLabel(Contract):
    """A paragraph that a person judges. Written by the curator, read by `jeeves label`."""

    sha256: str = Field(description="First 24 digits of the hash of the text with single blanks.")
    source_path: str
    url: str
    text: str
    score: float = Field(ge=0, le=1, description="Of the present weights.")
