"""OpenAI's chat form: requests as far as they can be served, responses, stream chunks and errors.

Written and read by OpenAI's clients. Unknown fields are dropped, never forwarded; known ones that cannot be served are
refused by name.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import orjson
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from jeeves_gateway.errors import BadChatRequest, Delayed
from jeeves_gateway.hygiene import visible
from jeeves_shared.errors import JeevesError

QUESTION_CHARACTERS_MAX = 8000
MESSAGES_MAX = 400

_UNSUPPORTED: Mapping[str, str] = {
    "tools": "tools are not supported",
    "functions": "functions are not supported",
    "tool_choice": "tools are not supported",
    "function_call": "functions are not supported",
    "logprobs": "log probabilities are not supported",
    "top_logprobs": "log probabilities are not supported",
    "logit_bias": "logit_bias is not supported",
    "audio": "audio is not supported",
    "prediction": "predicted outputs are not supported",
    "web_search_options": "web search is not supported; answers come from the served index",
}
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
}


class _Lenient(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore")


def _joined_parts(value: Any) -> Any:
    """Content as text: OpenAI allows a list of typed parts."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    texts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("only parts of type `text` are supported")
        texts.append(part["text"])
    return "\n".join(texts)


class ChatMessage(_Lenient):
    """One message of the client."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined_parts), AfterValidator(visible)] = ""


class StreamOptions(_Lenient):
    """What a stream ends with."""

    include_usage: bool = False


class GivenPassage(_Lenient):
    """A passage of the client, put among the retrieved ones: to test what a planted document does."""

    title: str = Field(default="Document", min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=8000)


class JeevesOptions(_Lenient):
    """Request options of our own, under the one key `jeeves`."""

    retrieval: bool = True
    """False: the model answers without sources, and nothing checks what it says."""

    fallback: bool = True
    """False: an error instead of an answer from a lower rung when the engine cannot generate."""

    passages: tuple[GivenPassage, ...] = Field(default=(), max_length=2)
    """Only for keys of the scope `operate`."""
    conversation: str | None = Field(default=None, max_length=60)
    """Id of a conversation that the gateway keeps: what was said before is added, question and answer are kept."""


class ChatRequest(_Lenient):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)]
    model: str = ""
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = Field(default=(), max_length=4)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    jeeves: JeevesOptions = JeevesOptions()

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator("stream", "temperature", "stream_options", "jeeves", mode="before")
    @classmethod
    def _null_is_default(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].get_default() if value is None else value

    @property
    def limited(self) -> bool:
        """Whether the client itself says where the answer ends."""
        return bool(self.max_tokens or self.max_completion_tokens or self.stop)

    @property
    def question(self) -> str:
        """The last message."""
        return self.messages[-1].content.strip()


def parse_chat_request(body: bytes) -> ChatRequest:
    """Read a chat request.

    Raises:
        BadChatRequest: what is wrong, with the field at fault; the input itself is not repeated.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadChatRequest("The body is not JSON.") from exc
    if not isinstance(data, dict):
        raise BadChatRequest("The body is not a JSON object.")
    _refuse_unsupported(data)
    if isinstance(messages := data.get("messages"), list) and len(messages) > MESSAGES_MAX:
        raise BadChatRequest(f"There are {len(messages)} messages, {MESSAGES_MAX} are allowed.", "messages")
    try:
        request = ChatRequest.model_validate(data)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadChatRequest(f"{field}: {first['msg']}", field) from exc
    if request.messages[-1].role != "user" or not request.question:
        raise BadChatRequest("The last message must be the user's question, and not empty.", "messages")
    if len(request.question) > QUESTION_CHARACTERS_MAX:
        raise BadChatRequest(
            f"The question has {len(request.question)} characters, {QUESTION_CHARACTERS_MAX} are allowed.", "messages"
        )
    return request


def _refuse_unsupported(data: Mapping[str, Any]) -> None:
    for name, why in _UNSUPPORTED.items():
        if data.get(name) is not None and data[name] not in _HARMLESS.get(name, ()):
            raise BadChatRequest(f"{why}: leave `{name}` out.", name)
    if data.get("n") not in (None, 1):
        raise BadChatRequest("Only one choice is supported: leave `n` out.", "n")
    response_format = data.get("response_format")
    if response_format is not None and response_format != {"type": "text"}:
        raise BadChatRequest("Only text is supported: leave `response_format` out.", "response_format")
    if data.get("modalities") not in (None, ["text"]):
        raise BadChatRequest("Only text is supported: leave `modalities` out.", "modalities")


def error_body(error: JeevesError) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(error.status, kind)
    return {
        "error": {
            "message": error.detail,
            "type": kind,
            "param": getattr(error, "param", None),
            "code": error.code.replace("-", "_"),
        }
    }


def error_headers(error: JeevesError) -> dict[str, str]:
    """Headers of an error: when to try again, if it makes sense."""
    if isinstance(error, Delayed):
        return {"Retry-After": str(error.retry_after_seconds)}
    return {"Retry-After": "5"} if error.status == 503 else {}


def error_response(error: JeevesError) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    headers = error_headers(error)
    if error.status == 503:
        headers["X-Jeeves-Rung"] = "unavailable"
    return JSONResponse(error_body(error), error.status, headers=headers)


def estimated_tokens(text: str) -> int:
    """Tokens of a text, roughly: one for 3.5 Latin characters, or for 0.58 others.

    Source: the SmolLM2 tokenizer on 40 documents of the starter pack (3.59) and on Chinese prose (0.58).
    """
    latin = sum(character.isascii() for character in text)
    return math.ceil(latin / 3.5 + (len(text) - latin) / 0.58)
