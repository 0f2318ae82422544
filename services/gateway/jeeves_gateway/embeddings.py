"""`POST /v1/embeddings`: the vectors of the embedder that the search uses, in OpenAI's form."""

import asyncio
import base64
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from jeeves_gateway.errors import BadChatRequest, UnknownModel
from jeeves_gateway.keys import require
from jeeves_gateway.openai_form import error_response
from jeeves_gateway.parts import Parts
from jeeves_shared.errors import JeevesError
from jeeves_shared.search.embedding import EMBEDDER, VOCABULARY, Vectors, load_embedder

_INPUTS_MAX = 256
_INPUT_CHARACTERS_MAX = 32_000
_caller = require("chat")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class EmbeddingsRequest(BaseModel):
    """The body; unknown fields are dropped."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore")

    input: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=_INPUT_CHARACTERS_MAX)]],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=_INPUTS_MAX),
    ]
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


def embeddings_router(parts: Parts) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["chat"])

    @router.post("/v1/embeddings", summary="Vectors of texts, from the embedder that the search uses")
    async def embeddings(request: Request) -> Response:
        try:
            caller = await _caller(request)
            parts.features.require("embeddings")
            await parts.limits.admit(caller)
            asked = _parsed(await request.body())
            vectors, tokens = await asyncio.to_thread(_embedded, asked.input)
        except JeevesError as exc:
            return error_response(exc)
        except ClientDisconnect:
            return Response(status_code=499)
        await parts.budgets.spend(caller, tokens)
        base64_wanted = asked.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": number, "embedding": _packed(row) if base64_wanted else row.tolist()}
            for number, row in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": EMBEDDER, "data": data, "usage": usage})

    return router


def _parsed(body: bytes) -> EmbeddingsRequest:
    try:
        asked = EmbeddingsRequest.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadChatRequest(f"{field}: {first['msg']}", field) from exc
    if asked.model not in ("", "jeeves", "default", EMBEDDER):
        raise UnknownModel(f"There is one embedding model: use `{EMBEDDER}`.", "model")
    dimensions = load_embedder().embed([""], _weights()).shape[1]
    if asked.dimensions not in (None, dimensions):
        raise BadChatRequest(f"Vectors have {dimensions} dimensions: leave `dimensions` out.", "dimensions")
    return asked


def _weights() -> Vectors:
    # The weights of the search depend on its index; those of this route must not change with it.
    return np.ones(VOCABULARY, dtype=np.float32)


def _embedded(texts: list[str]) -> tuple[Vectors, int]:
    embedder = load_embedder()
    return embedder.embed(texts, _weights()), sum(len(ids) for ids in embedder.token_ids(texts))


def _packed(row: Vectors) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
