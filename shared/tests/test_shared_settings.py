"""Settings: defaults < file < environment < flag; every mistake at once."""

import os
from pathlib import Path

import pytest
from pydantic import Field

from jeeves_shared.errors import SettingsError
from jeeves_shared.settings import ServiceSettings, load_settings


class OwnSettings(ServiceSettings):
    own_limit: int = Field(default=3, ge=1)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("JEEVES_"):
            monkeypatch.delenv(name)


def test_defaults_are_loopback_and_local() -> None:
    settings = load_settings(OwnSettings)
    assert settings.host == "127.0.0.1"
    assert settings.token is None
    assert settings.database("curator").startswith("sqlite:////")
    assert settings.database("curator") != settings.database("trainer")
    assert settings.store() == str(Path("var").resolve() / "store")


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jeeves.yaml"
    file.write_text("port: 1001\nown_limit: 11\nlog_level: DEBUG\n")
    monkeypatch.setenv("JEEVES_CONFIG_FILE", str(file))
    assert load_settings(OwnSettings).port == 1001
    monkeypatch.setenv("JEEVES_PORT", "1002")
    assert load_settings(OwnSettings).port == 1002
    settings = load_settings(OwnSettings, port=1003, host=None)
    assert (settings.port, settings.host) == (1003, "127.0.0.1")
    assert (settings.own_limit, settings.log_level) == (11, "DEBUG")


def test_all_mistakes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEEVES_PORT", "70000")
    monkeypatch.setenv("JEEVES_JOBS_CONCURRENT", "many")
    monkeypatch.setenv("JEEVES_OWN_LIMIT", "0")
    monkeypatch.setenv("JEEVES_LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError) as caught:
        load_settings(OwnSettings)
    assert [mistake.split(":")[0] for mistake in sorted(caught.value.errors)] == [
        "JEEVES_JOBS_CONCURRENT",
        "JEEVES_LOG_LEVEL",
        "JEEVES_OWN_LIMIT",
        "JEEVES_PORT",
    ]
    assert "4 wrong setting(s)" in caught.value.detail


@pytest.mark.parametrize("host", ["192.168.1.7", "::", "jeeves.example.org"])
def test_token_is_required_off_loopback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="JEEVES_TOKEN"):
        load_settings(OwnSettings, host=host)
    monkeypatch.setenv("JEEVES_TOKEN", "long-and-random")
    assert load_settings(OwnSettings, host=host).host == host


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEEVES_TOKEN", "long-and-random")
    settings = load_settings(OwnSettings)
    assert "long-and-random" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("a: [", "not YAML"), ("- a\n- b\n", "name: value"), (b"\xff\xfe\x00", "not YAML")],
)
def test_unusable_file_is_said(
    content: str | bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "jeeves.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("JEEVES_CONFIG_FILE", str(file))
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(OwnSettings)
    assert "JEEVES_CONFIG_FILE" in caught.value.detail


def test_empty_file_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jeeves.yaml"
    file.write_text("# nothing yet\n")
    monkeypatch.setenv("JEEVES_CONFIG_FILE", str(file))
    assert load_settings(OwnSettings).port == 0


def test_addresses_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEEVES_DATABASE_URL", "postgresql+psycopg://u:p@db/jeeves")
    monkeypatch.setenv("JEEVES_STORE_URL", "s3://bucket/prefix")
    settings = load_settings(OwnSettings)
    assert settings.database("curator") == "postgresql+psycopg://u:p@db/jeeves"
    assert settings.store() == "s3://bucket/prefix"
