"""One training from samples to a manifest. Imports torch and its family: only in a job's process."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.manifests import TrainingManifest
from jeeves_shared.contracts.prompts import PROMPT_SHA256
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import LocatedModel
from jeeves_trainer.base_preparation import PreparedModel, prepare
from jeeves_trainer.conversion import convert_to_gguf
from jeeves_trainer.gguf_files import FINE_TUNE, check_template, write_metadata
from jeeves_trainer.layout import base_models_folder
from jeeves_trainer.merging import merge_adapter, pack_adapter
from jeeves_trainer.rendering import RenderedSample, Renderer, render_all, template_sha256
from jeeves_trainer.round_trip import Probe, choose_probes, probe_lines
from jeeves_trainer.samples import read_samples
from jeeves_trainer.settings import job_threads
from jeeves_trainer.sft import Samples, TunedAdapter, curve_lines, tune
from jeeves_trainer.tokenizers import check_tokens

# Where the phases begin on the job's progress bar; training itself is in between, see `progress`.
_PREPARE, _RENDER, _MERGE, _CONVERT, _STORE = 0.01, 0.06, 0.91, 0.93, 0.98


def held_out_selection(samples: Sequence[TrainingSample], limit: int) -> list[TrainingSample]:
    """The held-out samples that a run evaluates on: a fixed choice that does not depend on their order.

    Args:
        samples: the whole evaluation set.
        limit: most to take.
    """
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.pair.id.encode()).digest())[:limit]


@dataclass(frozen=True)
class TrainingRun:
    """One training.

    Attributes:
        context: of the job.
        body: checked.
        located: the base model.
        identity: of the manifest.
    """

    context: JobContext
    body: TrainingRequest
    located: LocatedModel
    identity: str

    def run(self) -> TrainingManifest:
        """Tune, merge, convert and store.

        Raises:
            RecipeError, TrainerError, JobCancelled: as `jeeves_trainer.trainings.train`.
        """
        _quiet_libraries()
        recipe = self.body.recipe
        base = self._prepare()
        self.context.report(_RENDER, "rendering samples, checking labels and gradients")
        tokenizer = AutoTokenizer.from_pretrained(base.folder)
        samples = self._render(Renderer(tokenizer))
        _check_engine_tokens(base.gguf, samples.held_out)
        tuned = tune(recipe, base.folder, tokenizer, samples, self.context)
        template = template_sha256(str(tokenizer.chat_template))
        merged = self._merge_and_convert(base, tuned, template)
        for file in (base.gguf, merged):
            check_template(file, template)
        _check_engine_tokens(merged, samples.held_out)
        probes = choose_probes(samples.held_out, self.body.recipe.round_trip.probes)
        manifest = self._store(base, merged, tuned, template, probes)
        self.context.store.put_manifest(manifest)
        merged.unlink()  # the store has it
        return manifest

    def _prepare(self) -> PreparedModel:
        source = self.body.recipe.base_model
        message = f"preparing {source.name}: dequantize, convert"
        self.context.report(_PREPARE, message)
        return prepare(
            source,
            self.located,
            base_models_folder(self.context.work_dir),
            lambda: self.context.report(_PREPARE, message),
        )

    def _render(self, renderer: Renderer) -> Samples:
        recipe, dataset, store = self.body.recipe, self.body.dataset, self.context.store
        training = read_samples(store.path(dataset.train))
        held_out = held_out_selection(read_samples(store.path(dataset.evaluation)), recipe.evaluation_samples_max)
        return Samples(
            training=render_all(training, renderer, recipe.max_length_tokens, self.context.log),
            held_out=render_all(held_out, renderer, recipe.max_length_tokens, self.context.log),
        )

    def _merge_and_convert(self, base: PreparedModel, tuned: TunedAdapter, template: str) -> Path:
        recipe, work_dir = self.body.recipe, self.context.work_dir
        self.context.report(_MERGE, "merging the adapter in BF16")
        merge_adapter(base.folder, tuned.folder, work_dir / "merged", four_bit=recipe.method == "qlora")
        name = f"{recipe.base_model.name}-{FINE_TUNE}"
        converted, merged = work_dir / "converted.gguf", work_dir / f"{name}-BF16.gguf"
        convert_to_gguf(
            work_dir / "merged", converted, name, lambda: self.context.report(_CONVERT, "converting to GGUF")
        )
        write_metadata(
            converted,
            merged,
            {
                "general.name": name,
                "general.finetune": FINE_TUNE,
                "general.license": recipe.base_model.licence.lower(),
                "jeeves.training_id": self.identity,
                "jeeves.dataset_id": self.body.dataset.id,
                "jeeves.recipe_sha256": content_hash(recipe),
                "jeeves.prompt_sha256": PROMPT_SHA256,
                "jeeves.template_sha256": template,
            },
        )
        converted.unlink()
        shutil.rmtree(work_dir / "merged")
        return merged

    def _store(
        self, base: PreparedModel, merged: Path, tuned: TunedAdapter, template: str, probes: Sequence[Probe]
    ) -> TrainingManifest:
        self.context.report(_STORE, "storing")
        recipe, store = self.body.recipe, self.context.store
        adapter = self.context.work_dir / "adapter.tar"
        pack_adapter(tuned.folder, recipe.base_model.name, adapter)
        return TrainingManifest(
            id=self.identity,
            dataset_id=self.body.dataset.id,
            recipe_sha256=content_hash(recipe),
            base_model=recipe.base_model.name,
            base_licence=recipe.base_model.licence,
            model_name=recipe.model_name,
            adapter=store.put_file(adapter),
            merged_gguf=store.put_file(merged),
            base_gguf=store.put_file(base.gguf, f"{recipe.base_model.name}-BF16.gguf"),
            architecture=read_gguf(merged).architecture,
            template_sha256=template,
            prompt_sha256=PROMPT_SHA256,
            steps=tuned.steps,
            best_step=tuned.best_step,
            train_loss=tuned.train_loss,
            eval_loss_before=tuned.eval_loss_before,
            eval_loss=tuned.eval_loss,
            tokens_per_second=tuned.tokens_per_second,
            curve=store.put_bytes(curve_lines(tuned.curve), "curve.jsonl"),
            probes=store.put_bytes(probe_lines(probes), "probes.jsonl"),
            round_trip_bounds=recipe.round_trip,
            created_at=datetime.now(UTC),
        )


def _quiet_libraries() -> None:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(job_threads())


def _check_engine_tokens(gguf: Path, samples: Sequence[RenderedSample]) -> None:
    check_tokens(gguf, [sample.prompt_text for sample in samples], [sample.prompt_ids for sample in samples])
