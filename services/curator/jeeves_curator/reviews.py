"""What people look at: the card of a data set, the review list of a curation, and paragraphs to label."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse

from jeeves_curator.shards import read_lines
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.curation import CuratedDocument, ParagraphToLabel, QuarantinedDocument
from jeeves_shared.contracts.manifests import CurationManifest, DatasetManifest

_DOCUMENTS_LOOKED_AT = 400


def reviews_router(store: ArtifactStore) -> APIRouter:
    """The routes.

    Args:
        store: that holds the curations.
    """
    router = APIRouter(prefix="/v1", tags=["reviews"])

    @router.get("/reviews", summary="Documents in quarantine, with the reason; a recipe releases them by their sha256")
    def reviews(
        curation: Annotated[str, Query(description="Id of a curation manifest.")],
    ) -> list[QuarantinedDocument]:
        manifest = store.get_manifest(CurationManifest, "curation", curation)
        return list(read_lines(store.path(manifest.quarantine), QuarantinedDocument, manifest.quarantine.name))

    @router.get("/cards/{dataset_id}", summary="The card of a data set")
    def card(dataset_id: str, form: Literal["html", "markdown"] = "html") -> Response:
        manifest = store.get_manifest(DatasetManifest, "dataset", dataset_id)
        if form == "markdown" or manifest.card_html is None:
            return Response(store.read_bytes(manifest.card), media_type="text/markdown; charset=utf-8")
        return HTMLResponse(store.read_bytes(manifest.card_html))

    @router.get("/paragraphs", summary="Paragraphs to label: those that the quality score is least sure of")
    def paragraphs(
        curation: Annotated[str, Query(description="Id of a curation manifest.")],
        count: Annotated[int, Query(ge=1, le=200, description="How many.")] = 20,
        seed: Annotated[int, Query(description="Another seed draws from other documents.")] = 17,
    ) -> list[ParagraphToLabel]:
        # Embeddings and MinHash are loaded by the first who asks, not by every service that starts.
        from jeeves_curator.quality import judged_paragraphs, paragraph_hash, scores  # noqa: PLC0415
        from jeeves_curator.split import draw  # noqa: PLC0415

        manifest = store.get_manifest(CurationManifest, "curation", curation)
        documents = [
            item.document
            for item in read_lines(store.path(manifest.documents), CuratedDocument, manifest.documents.name)
        ]
        drawn = sorted(documents, key=lambda document: draw(seed, "label", document.source_path))
        found = [
            (document, text) for document in drawn[:_DOCUMENTS_LOOKED_AT] for text in judged_paragraphs(document.text)
        ]
        graded = sorted(
            zip(scores([text for _, text in found]), found, strict=True),
            key=lambda entry: (abs(entry[0] - 0.5), paragraph_hash(entry[1][1])),
        )
        return [
            ParagraphToLabel(
                sha256=paragraph_hash(text),
                source_path=document.source_path,
                url=document.provenance.url,
                text=text,
                score=round(score, 4),
            )
            for score, (document, text) in graded[:count]
        ]

    return router
