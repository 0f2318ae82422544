"""Where a stage starts: the base model, or the merged weights of the training before it, made again from its lineage.

What a training keeps is small (an adapter), so the weights that came out of it are made when they are needed: the base,
then each ancestor's adapter merged in turn, as it was merged when it was trained. They are kept beside the base models.
"""

import shutil
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path

from jeeves_shared.artifacts import ArtifactStore, storage_errors
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.manifests import ArtifactRef, TrainingManifest
from jeeves_trainer.base_models import check_safetensors
from jeeves_trainer.errors import BaseModelUnusable
from jeeves_trainer.merging import (
    CONFIG_FILE,
    MODEL_CONFIG_FILE,
    MODEL_WEIGHTS_FILE,
    WEIGHTS_FILE,
    merge_adapter,
    save_whole,
)

_ADAPTER_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE})
_MODEL_FILES = frozenset({MODEL_CONFIG_FILE, MODEL_WEIGHTS_FILE})


def ancestry(parent: TrainingManifest, store: ArtifactStore) -> list[TrainingManifest]:
    """A training and those that it came from, the oldest first.

    Raises:
        NotFound: the manifest of one of them is gone.
    """
    found = [parent]
    while found[0].parent_id:
        found.insert(0, store.get_manifest(TrainingManifest, "training", found[0].parent_id))
    return found


def starting_folder(
    base_folder: Path, parent: TrainingManifest | None, store: ArtifactStore, cache: Path, heartbeat: Callable[[], None]
) -> Path:
    """Hugging Face folder with the weights that a training starts from.

    Args:
        base_folder: of the prepared base model.
        parent: training to go on from; None: the base model.
        store: holds the adapters.
        cache: folder for merged models, shared by all jobs.
        heartbeat: called now and then; may raise to stop.

    Raises:
        NotFound, ArtifactCorrupt: a file or manifest of the lineage is gone or damaged.
        BaseModelUnusable: it holds something else than safetensors.
        StorageFull: no space left.
    """
    folder = base_folder
    for training in ancestry(parent, store) if parent else ():
        heartbeat()
        folder = _merged(folder, training, store, cache)
    return folder


def _merged(before: Path, training: TrainingManifest, store: ArtifactStore, cache: Path) -> Path:
    kept = training.weights or training.adapter
    if kept is None:
        raise BaseModelUnusable(f"{training.id} kept neither an adapter nor weights: train it again.")
    target = cache / content_hash([before.parent.name, training.id, kept.sha256])[:32]
    folder = target / "hf"
    if target.is_dir():
        return folder
    temporary = cache / f".{target.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir(parents=True)
    try:
        with storage_errors("the weights of the stage before"):
            if training.weights:
                unpack(store, training.weights, temporary / "tuned", _MODEL_FILES)
                save_whole(before, temporary / "tuned", temporary / "hf")
            else:
                unpack(store, kept, temporary / "tuned", _ADAPTER_FILES)
                merge_adapter(before, temporary / "tuned", temporary / "hf", four_bit=training.method == "qlora")
            shutil.rmtree(temporary / "tuned")
            if not target.is_dir():  # another job may have been quicker
                temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def unpack(store: ArtifactStore, packed: ArtifactRef, target: Path, expected: frozenset[str]) -> None:
    """Unpack a tar file that holds certain files and nothing else.

    Args:
        store: holds it.
        packed: the tar.
        target: folder to make.
        expected: names.

    Raises:
        BaseModelUnusable: other names (a pickle, say), or weights that are no safetensors.
    """
    target.mkdir(parents=True)
    with tarfile.open(store.path(packed)) as archive:
        members = archive.getmembers()
        names = {member.name for member in members}
        if names != expected or not all(member.isfile() for member in members):
            raise BaseModelUnusable(
                f"{packed.name} holds {', '.join(sorted(names))}, not {', '.join(sorted(expected))}: only safetensors "
                "are read, nothing is unpickled."
            )
        archive.extractall(target, filter="data")
    for path in target.glob("*.safetensors"):
        check_safetensors(path)
