"""Where the services are: flag or environment, else what the bundle wrote, else the default ports."""

import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

SERVICES = ("collector", "curator", "trainer", "gateway")
DEFAULT_PORTS = {"gateway": 8080, "collector": 8101, "curator": 8102, "trainer": 8103}
STATE_FILE = "bundle.json"


class BundleState(BaseModel):
    """Written by `jeeves up` into the data folder; read by every other command."""

    model_config = ConfigDict(frozen=True)

    pid: int
    ports: dict[str, int]


def data_dir() -> Path:
    """Folder of this installation: `JEEVES_DATA_DIR`, else `var` in the current folder."""
    return Path(os.environ.get("JEEVES_DATA_DIR") or "var")


def service_url(service: str) -> str:
    """Address of a service.

    Args:
        service: one of `SERVICES`.
    """
    if given := os.environ.get(f"JEEVES_{service.upper()}_URL"):
        return given.rstrip("/")
    ports = dict(DEFAULT_PORTS)
    state = data_dir() / STATE_FILE
    if state.is_file():
        try:
            ports |= BundleState.model_validate_json(state.read_bytes()).ports
        except (ValidationError, json.JSONDecodeError):
            # A half-read file of a bundle that is just starting: the default ports are the best guess.
            return f"http://127.0.0.1:{ports[service]}"
    return f"http://127.0.0.1:{ports[service]}"
