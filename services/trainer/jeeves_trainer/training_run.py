"""One training from samples to a manifest. Imports torch and its family: only in a job's process."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.manifests import TrainingManifest
from jeeves_shared.contracts.prompts import PROMPT_SHA256
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import LocatedModel
from jeeves_trainer.base_preparation import PreparedModel, prepare
from jeeves_trainer.conversion import convert_to_gguf
from jeeves_trainer.gguf_files import FINE_TUNE, check_template, write_metadata
from jeeves_trainer.importance import measure_importance
from jeeves_trainer.importance_file import importance_bytes
from jeeves_trainer.kept import Kept, keep_tuned
from jeeves_trainer.layout import base_models_folder, process_count
from jeeves_trainer.lineage import starting_folder
from jeeves_trainer.rendering import RenderedSample, Renderer, template_sha256
from jeeves_trainer.round_trip import choose_probes, probe_lines
from jeeves_trainer.settings import job_threads
from jeeves_trainer.stage_samples import Samples, load_held_out, load_samples
from jeeves_trainer.tokenizers import check_tokens
from jeeves_trainer.tuning import Tuned, curve_lines, tune

# Where the phases begin on the job's progress bar; training itself is in between, see `progress`.
_PREPARE, _RENDER, _MERGE, _CONVERT, _STORE = 0.01, 0.06, 0.91, 0.93, 0.98


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

    def tune(self) -> "Outcome":
        """Prepare and train; in each of several processes.

        Raises:
            RecipeError, TrainerError, JobCancelled: as `jeeves_trainer.trainings.train`.
        """
        _quiet_libraries()
        recipe, store = self.body.recipe, self.context.store
        with _first_process_ahead():
            base = self._prepare()
            start = self._starting_folder(base)
        self.context.report(_RENDER, "rendering samples, checking labels and gradients")
        tokenizer = AutoTokenizer.from_pretrained(base.folder)
        renderer = Renderer(tokenizer)
        samples = load_samples(recipe, self.body.dataset, store, renderer, self.context.log)
        answers = self._held_out_answers(renderer)
        _check_engine_tokens(base.gguf, answers)
        tuned = tune(recipe, start, tokenizer, samples, self.context)
        return Outcome(base, start, tuned, template_sha256(str(tokenizer.chat_template)), answers, samples)

    def finish(self, done: "Outcome") -> TrainingManifest:
        """Merge, convert, check and store.

        Raises:
            TrainerError, JobCancelled: as `jeeves_trainer.trainings.train`.
        """
        kept = self._merge_and_convert(done)
        for file in (done.base.gguf, kept.merged_gguf):
            check_template(file, done.template)
        _check_engine_tokens(kept.merged_gguf, done.answers)
        manifest = self._store(done, kept)
        self.context.store.put_manifest(manifest)
        kept.merged_gguf.unlink()  # the store has it
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

    def _held_out_answers(self, renderer: Renderer) -> list[RenderedSample]:
        """Held-out answers as they will be served, whatever the stage learns from: what files are compared on."""
        as_sft = self.body.recipe.model_copy(update={"stage": "sft"})
        held_out = load_held_out(as_sft, self.body.dataset, self.context.store, renderer, self.context.log)
        return [sample for (sample,) in held_out]

    def _starting_folder(self, base: PreparedModel) -> Path:
        message = "making the weights of the stage before"
        return starting_folder(
            base.folder,
            self.body.parent,
            self.context.store,
            base_models_folder(self.context.work_dir),
            lambda: self.context.report(_RENDER, message),
        )

    def _merge_and_convert(self, done: "Outcome") -> Kept:
        recipe, work_dir = self.body.recipe, self.context.work_dir
        self.context.report(_MERGE, "merging in BF16")

        def heartbeat() -> None:
            self.context.report(_CONVERT, "converting to GGUF")

        kept = keep_tuned(
            recipe,
            done.start,
            done.tuned.folder,
            work_dir,
            from_base=self.body.parent is None,
            heartbeat=heartbeat,
        )
        name = f"{recipe.base_model.name}-{FINE_TUNE}"
        converted, merged = work_dir / "converted.gguf", work_dir / f"{name}-BF16.gguf"
        convert_to_gguf(work_dir / "merged", converted, name, heartbeat)
        write_metadata(
            converted,
            merged,
            {
                "general.name": name,
                "general.finetune": FINE_TUNE,
                "general.license": recipe.base_model.licence.lower(),
                "jeeves.training_id": self.identity,
                "jeeves.parent_training_id": self.body.parent.id if self.body.parent else "",
                "jeeves.dataset_id": self.body.dataset.id,
                "jeeves.recipe_sha256": content_hash(recipe),
                "jeeves.prompt_sha256": PROMPT_SHA256,
                "jeeves.template_sha256": done.template,
            },
        )
        converted.unlink()
        if recipe.importance_samples:
            self.context.report(_CONVERT, "measuring the importance of weights")
            chosen = [unit[0] for unit in done.samples.training[: recipe.importance_samples]]
            found = measure_importance(work_dir / "merged", read_gguf(merged).architecture, chosen)
            kept = replace(kept, importance=importance_bytes(found))
        shutil.rmtree(work_dir / "merged")
        return replace(kept, merged_gguf=merged)

    def _store(self, done: "Outcome", kept: Kept) -> TrainingManifest:
        self.context.report(_STORE, "storing")
        recipe, store, tuned = self.body.recipe, self.context.store, done.tuned
        probes = choose_probes(done.answers, recipe.round_trip.probes)
        return TrainingManifest(
            id=self.identity,
            dataset_id=self.body.dataset.id,
            recipe_sha256=content_hash(recipe),
            base_model=recipe.base_model.name,
            base_licence=recipe.base_model.licence,
            model_name=recipe.model_name,
            stage=recipe.stage,
            method=recipe.method,
            parent_id=self.body.parent.id if self.body.parent else "",
            adapter=store.put_file(kept.adapter) if kept.adapter else None,
            weights=store.put_file(kept.weights) if kept.weights else None,
            adapter_gguf=store.put_file(kept.adapter_gguf) if kept.adapter_gguf else None,
            importance=store.put_bytes(kept.importance, "importance.safetensors") if kept.importance else None,
            merged_gguf=store.put_file(kept.merged_gguf),
            base_gguf=store.put_file(done.base.gguf, f"{recipe.base_model.name}-BF16.gguf"),
            architecture=read_gguf(kept.merged_gguf).architecture,
            template_sha256=done.template,
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


@dataclass(frozen=True)
class Outcome:
    """What a training has after its last step.

    Attributes:
        base: the prepared base model.
        start: folder that the run started from: the base's, or a parent's.
        tuned: the run.
        template: sha256 of the chat template.
        answers: held-out answers, to check files with.
        samples: of the stage.
    """

    base: PreparedModel
    start: Path
    tuned: Tuned
    template: str
    answers: Sequence[RenderedSample]
    samples: Samples


@contextmanager
def _first_process_ahead() -> Iterator[None]:
    """Of several processes, the first one does what is in the block, then the others find it done."""
    if process_count() == 1:
        yield
        return
    from accelerate import PartialState  # noqa: PLC0415 - it opens connections

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        yield


def _quiet_libraries() -> None:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(job_threads())


def _check_engine_tokens(gguf: Path, samples: Sequence[RenderedSample]) -> None:
    check_tokens(gguf, [sample.prompt_text for sample in samples], [sample.prompt_ids for sample in samples])
