"""Error bodies (RFC 9457, `application/problem+json`)."""

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """What went wrong and what to do about it. Written by every service; read by every client."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(description="Stable, machine-readable name, `urn:jeeves:problem:<code>`.")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="One or two sentences for a person, with the remedy.")
    instance: str = Field(default="", description="Request id or job id.")
    errors: tuple[str, ...] = Field(default=(), description="Every mistake found, when there are several.")
