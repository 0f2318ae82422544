"""Settings of a service: defaults < file < environment (`JEEVES_…`) < flag; wrong ones fail at start, all at once.

The optional file is YAML, named by `JEEVES_CONFIG_FILE`; its keys are the field names.
"""

import os
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from jeeves_shared.errors import SettingsError

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class ServiceSettings(BaseSettings):
    """What every service needs to know. A service adds its own fields in a subclass."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="JEEVES_", extra="ignore", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback requires a token."""

    port: int = Field(default=0, ge=0, le=65535)
    """TCP port; 0 lets the system choose."""

    data_dir: Path = Path("var")
    """Folder of this installation: databases, artifact store, work folders, logs."""

    database_url: str = ""
    """SQLAlchemy address. Empty: an SQLite file in `data_dir`, one per service."""

    store_url: str = ""
    """fsspec address of the artifact store (`s3://bucket/prefix`). Empty: the folder `store` in `data_dir`."""

    token: SecretStr | None = None
    """Bearer token that the collector, curator and trainer ask for; required when not on loopback."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """How much is logged."""

    drain_seconds: int = Field(default=10, ge=1, le=3600)
    """After SIGTERM: time for running requests to finish."""

    jobs_concurrent: int = Field(default=1, ge=1, le=64)
    """Job processes at the same time. A GPU runs one."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the YAML file below the environment."""
        file = os.environ.get("JEEVES_CONFIG_FILE")
        below = (YamlConfigSettingsSource(settings_cls, yaml_file=file),) if file else ()
        return (init_settings, env_settings, *below, file_secret_settings)

    @model_validator(mode="after")
    def _token_off_loopback(self) -> Self:
        if self.host not in LOOPBACK_HOSTS and self.token is None:
            raise ValueError(f"host {self.host} is not loopback: set JEEVES_TOKEN to a long random text")
        return self

    def database(self, service: str) -> str:
        """SQLAlchemy address of a service's database."""
        if self.database_url:
            return self.database_url
        return f"sqlite:///{self.data_dir.resolve() / service / 'state.sqlite'}"

    def store(self) -> str:
        """fsspec address of the artifact store."""
        return self.store_url or str(self.data_dir.resolve() / "store")


S = TypeVar("S", bound=BaseSettings)


def load_settings(settings_type: type[S], **flags: Any) -> S:
    """Read settings from all their places.

    Args:
        settings_type: the service's settings class.
        flags: values given on the command line; None means not given.

    Raises:
        SettingsError: with every mistake, named as the environment variable to change.
    """
    _check_file()
    try:
        return settings_type(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as exc:
        mistakes = tuple(
            f"{'JEEVES_' + '__'.join(str(part) for part in error['loc']).upper() if error['loc'] else 'settings'}: "
            f"{error['msg']}"
            for error in exc.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"{len(mistakes)} wrong setting(s): {'; '.join(mistakes)}", mistakes) from exc


def _check_file() -> None:
    """Pydantic skips a file that is missing and stumbles over one that is no mapping; people need to be told."""
    name = os.environ.get("JEEVES_CONFIG_FILE")
    if not name:
        return
    try:
        content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"JEEVES_CONFIG_FILE: {name} cannot be read: {exc.strerror}.") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise SettingsError(f"JEEVES_CONFIG_FILE: {name} is not YAML: {exc}") from exc
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"JEEVES_CONFIG_FILE: {name} must hold `name: value` lines.")
