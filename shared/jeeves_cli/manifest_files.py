"""Manifests as files: what one command writes and the next reads."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.contracts.base import Contract

C = TypeVar("C", bound=Contract)


def read_manifest(contract: type[C], path: Path) -> C:
    """Read a manifest.

    Raises:
        CommandError: unreadable, or of another kind.
    """
    try:
        return contract.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    except ValidationError as exc:
        raise CommandError(f"{path} is not a {contract.__name__}: run the step before again.", Exit.USAGE) from exc
