"""Where the trainer's jobs keep things in the data folder.

Layout::

    <data folder>/trainer/work/<job id>/          of one job, the same after a restart
        checkpoints/checkpoint-<step>/            adapter, optimizer, trainer state; `complete.json` is written last
        micro-batch.json                          samples that fitted, after an out-of-memory error
        merged/                                   merged weights as a Hugging Face folder
        accelerate.yaml  ranks.json  ranks.log    of a training in several processes
    <data folder>/trainer/base-models/<sha256>/   of every job: a base model, prepared once
        hf/  base-BF16.gguf                       (hf/ only: merged weights of an earlier training)
    <data folder>/trainer/findings/<what>-<hash>.json   of every evaluation: what a file did on what it was asked
"""

import os
from pathlib import Path
from typing import Any

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.engine.binary import engine_version


def base_models_folder(work_dir: Path) -> Path:
    """Folder that all jobs of this installation share for prepared base models.

    Args:
        work_dir: of a job.
    """
    return work_dir.parent.parent / "base-models"


def findings_file(work_dir: Path, what: str, asked: Any) -> Path:
    """File for what a GGUF file did, shared by all evaluations: nobody asks a file the same thing twice.

    Args:
        work_dir: of a job.
        what: short name, for people.
        asked: JSON with all that the outcome depends on; the engine's version is added.
    """
    identity = content_hash({"asked": asked, "engine": engine_version()})
    return work_dir.parent.parent / "findings" / f"{what}-{identity[:32]}.json"


def checkpoints_folder(work_dir: Path) -> Path:
    """Folder of a training's checkpoints."""
    return work_dir / "checkpoints"


def micro_batch_note(work_dir: Path) -> Path:
    """File that remembers how many samples of a micro batch fitted."""
    return work_dir / "micro-batch.json"


def usable_cores() -> int:
    """Cores that this process may run on, at least 1."""
    return max(1, len(os.sched_getaffinity(0)))


def process_count() -> int:
    """Processes that share this training, as `accelerate launch` says in the environment; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))
