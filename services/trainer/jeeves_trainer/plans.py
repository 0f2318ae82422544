"""The job `plans`: would this training run, and would it fit? Nothing is trained and no model is loaded."""

import math
import os
from dataclasses import dataclass
from typing import Any

from jeeves_shared.contracts.plans import MemoryEstimate, PlanFinding, TrainingPlan
from jeeves_shared.contracts.recipes import ModelShape, TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_shared.errors import JeevesError, RecipeError
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import LocatedModel, locate
from jeeves_trainer.errors import BaseModelUnusable
from jeeves_trainer.memory import (
    GIB,
    advise,
    estimate_memory,
    parameter_counts,
    shape_of_config,
    shape_of_gguf,
    trained_parameters,
)
from jeeves_trainer.ranks import missing_devices
from jeeves_trainer.trainings import check_request

_OPEN_LICENCES = frozenset({"apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc-by-4.0", "cc0-1.0"})
_CONFIG = "config.json"


@dataclass(frozen=True)
class Device:
    """Where a run would compute.

    Attributes:
        name: for people.
        memory_bytes: that it may use.
        cuda: it is a GPU.
        count: GPUs of its kind in this machine.
    """

    name: str
    memory_bytes: int
    cuda: bool
    count: int = 1

    @property
    def gpus(self) -> int:
        """GPUs in this machine."""
        return self.count if self.cuda else 0


def plan(context: JobContext, request: dict[str, Any]) -> TrainingPlan:
    """Check a recipe and a data set against each other and against this machine.

    Args:
        context: of the job.
        request: a `TrainingRequest`.
    """
    body = TrainingRequest.model_validate(request)
    context.report(0.2, "looking at the device")
    return make_plan(body, find_device())


def find_device() -> Device:
    """The first GPU with its free memory, or this machine's memory within the limits of its control group."""
    import torch  # noqa: PLC0415 - seconds; a job of its own

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Device(torch.cuda.get_device_name(), int(free), cuda=True, count=torch.cuda.device_count())
    return Device("CPU", _usable_memory_bytes(), cuda=False)


def make_plan(body: TrainingRequest, device: Device) -> TrainingPlan:
    """The plan of a training on a device; pure but for reading the base model's config.

    Args:
        body: the request.
        device: from `find_device`.
    """
    recipe = body.recipe
    findings = _request_findings(body)
    located, finding = _located(recipe)
    findings.append(finding)
    if recipe.processes > 1:
        findings.append(_processes_finding(recipe, device))
    shape = _shape(recipe, located)
    memory: MemoryEstimate | None = None
    advice: tuple[str, ...] = ()
    if shape is None:
        text = "the shape of the base model is not known here: give base_model.shape, or fetch the model first"
        findings.append(PlanFinding(name="memory", severity="warning", text=text))
    else:
        memory = estimate_memory(shape, recipe, cuda=device.cuda)
        findings.append(_memory_finding(memory, device))
        if memory.total > device.memory_bytes:
            advice = advise(shape, recipe, cuda=device.cuda, device_bytes=device.memory_bytes)
    return TrainingPlan(
        recipe=recipe.name,
        dataset_id=body.dataset.id,
        parameters=sum(parameter_counts(shape)) if shape else 0,
        trained_parameters=trained_parameters(shape, recipe) if shape else 0,
        steps=_steps(recipe, body.dataset.train_samples),
        device=device.name,
        device_bytes=device.memory_bytes,
        memory=memory,
        findings=tuple(findings),
        advice=advice,
    )


def _request_findings(body: TrainingRequest) -> list[PlanFinding]:
    try:
        check_request(body)
    except RecipeError as exc:
        return [PlanFinding(name="request", severity="error", text=mistake) for mistake in exc.errors]
    text = f"{body.dataset.train_samples} training and {body.dataset.evaluation_samples} evaluation samples"
    findings = [PlanFinding(name="dataset", severity="ok", text=f"{text}, made for this release's prompt")]
    licence = body.recipe.base_model.licence
    if licence.lower() in _OPEN_LICENCES:
        findings.append(PlanFinding(name="licence", severity="ok", text=f"base model: {licence}"))
    else:
        text = f"base model: {licence or 'none given'}: read its terms before you share what comes out"
        findings.append(PlanFinding(name="licence", severity="warning", text=text))
    return findings


def _located(recipe: TrainRecipe) -> tuple[LocatedModel | None, PlanFinding]:
    try:
        located = locate(recipe.base_model)
    except BaseModelUnusable as exc:
        return None, PlanFinding(name="base_model", severity="error", text=exc.detail)
    if located.folder is None:
        text = f"{located.repository} will be fetched from Hugging Face"
        return located, PlanFinding(name="base_model", severity="warning", text=text)
    return located, PlanFinding(name="base_model", severity="ok", text=f"{recipe.base_model.name} is here")


def _shape(recipe: TrainRecipe, located: LocatedModel | None) -> ModelShape | None:
    if located is None or located.folder is None:
        return recipe.base_model.shape
    try:
        if located.gguf_name:
            gguf = read_gguf(located.folder / located.gguf_name)
            return shape_of_gguf(dict(gguf.values), gguf.architecture) or recipe.base_model.shape
        return shape_of_config(located.folder / _CONFIG) or recipe.base_model.shape
    except (OSError, ValueError, JeevesError):
        return recipe.base_model.shape


def _processes_finding(recipe: TrainRecipe, device: Device) -> PlanFinding:
    if missing := missing_devices(recipe, device.gpus):
        return PlanFinding(name="processes", severity="error", text=missing)
    return PlanFinding(name="processes", severity="ok", text=f"{recipe.processes}, started by accelerate launch")


def _memory_finding(memory: MemoryEstimate, device: Device) -> PlanFinding:
    need, have = memory.total / GIB, device.memory_bytes / GIB
    if memory.total > device.memory_bytes:
        return PlanFinding(name="memory", severity="error", text=f"needs {need:.1f} GiB, {device.name} has {have:.1f}")
    return PlanFinding(name="memory", severity="ok", text=f"needs {need:.1f} of {have:.1f} GiB on {device.name}")


def _steps(recipe: TrainRecipe, samples: int) -> int:
    if recipe.stage != "sft":
        return recipe.max_steps  # the manifest does not count the rows of other forms
    batches = math.ceil(samples / recipe.micro_batch_samples)
    steps = math.ceil(max(1, round(batches * recipe.epochs)) / (recipe.gradient_accumulation * recipe.processes))
    return min(steps, recipe.max_steps) if recipe.max_steps else steps


def _usable_memory_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
                return min(physical, int(file.read()))
        except (OSError, ValueError):
            continue  # no such control group, or `max`
    return physical
