"""Checkpoints that count: a folder is complete when its marker, written last, names every file with its size.

A job that is killed while it writes one leaves a folder without a marker; the next attempt removes it and resumes from
the last complete one.
"""

import json
import shutil
from pathlib import Path

from jeeves_shared.artifacts import write_atomic

CHECKPOINT_PREFIX = "checkpoint-"
MARKER = "complete.json"


def mark_complete(folder: Path) -> None:
    """Write the marker of a checkpoint folder whose files are all there."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    write_atomic(folder / MARKER, json.dumps(sizes).encode())


def is_complete(folder: Path) -> bool:
    """True if the folder has a marker and every file that it names, at its size."""
    try:
        sizes = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def checkpoint_step(folder: Path) -> int:
    """Step of a checkpoint folder."""
    return int(folder.name.removeprefix(CHECKPOINT_PREFIX))


def resume_point(root: Path) -> Path | None:
    """The last complete checkpoint below a folder, or None; incomplete ones are removed."""
    if not root.is_dir():
        return None
    complete: list[Path] = []
    for folder in root.glob(f"{CHECKPOINT_PREFIX}*"):
        if is_complete(folder):
            complete.append(folder)
        else:
            shutil.rmtree(folder)
    return max(complete, key=checkpoint_step, default=None)


def prune_checkpoints(root: Path, keep: set[int]) -> None:
    """Remove the complete checkpoints of all other steps.

    Args:
        root: folder of the checkpoints.
        keep: steps whose checkpoint stays.
    """
    for folder in root.glob(f"{CHECKPOINT_PREFIX}*"):
        if checkpoint_step(folder) not in keep and is_complete(folder):
            (folder / MARKER).unlink()  # first, so that a kill leaves no half of a complete one
            shutil.rmtree(folder)
