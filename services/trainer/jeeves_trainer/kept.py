"""What a training keeps of its best checkpoint: the adapter as safetensors and as GGUF, or the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_trainer.conversion import convert_adapter_to_gguf
from jeeves_trainer.gguf_files import FINE_TUNE
from jeeves_trainer.merging import merge_adapter, pack_adapter, pack_weights, save_whole


@dataclass(frozen=True)
class Kept:
    """Files to store.

    Attributes:
        merged_gguf: the merged model; empty until it is converted.
        adapter: tar of the adapter; None for method `full`.
        weights: tar of the weights; for method `full` only.
        adapter_gguf: the adapter for an engine that has the base loaded, if the recipe asks for it; None where its
            base is another than that engine's, because it was rounded to 4 bits or comes from a stage before.
        importance: of the merged model's weights, if the recipe asks for it.
    """

    merged_gguf: Path = Path()
    adapter: Path | None = None
    weights: Path | None = None
    adapter_gguf: Path | None = None
    importance: bytes = b""


def keep_tuned(
    recipe: TrainRecipe, start: Path, tuned: Path, work_dir: Path, *, from_base: bool, heartbeat: Callable[[], None]
) -> Kept:
    """Write the merged model to `work_dir/merged`, and what is to be kept beside it.

    Args:
        recipe: how it was trained.
        start: Hugging Face folder that the run started from.
        tuned: checkpoint that counts.
        work_dir: folder of the job.
        from_base: `start` is the base model itself.
        heartbeat: called while waiting; may raise to stop.

    Raises:
        ConversionFailed: llama.cpp's converter refused the adapter.
    """
    merged, packed = work_dir / "merged", work_dir / "adapter.tar"
    if recipe.method == "full":
        save_whole(start, tuned, merged)
        weights = work_dir / "weights.tar"
        pack_weights(merged, weights)
        return Kept(weights=weights)
    merge_adapter(start, tuned, merged, four_bit=recipe.method == "qlora")
    pack_adapter(tuned, recipe.base_model.name, packed)
    if not recipe.adapter_gguf or recipe.method == "qlora" or not from_base:
        return Kept(adapter=packed)
    converted = work_dir / f"{recipe.base_model.name}-{FINE_TUNE}-F16-LoRA.gguf"
    convert_adapter_to_gguf(tuned, start, converted, heartbeat)
    return Kept(adapter=packed, adapter_gguf=converted)
