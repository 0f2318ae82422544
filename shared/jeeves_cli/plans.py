"""`jeeves train --dry-run`: what the trainer says about a training that it does not run."""

from jeeves_cli.client import ServiceClient
from jeeves_cli.display import ConsoleDisplay, make_display
from jeeves_cli.exits import Exit
from jeeves_shared.contracts.manifests import DatasetManifest, TrainingManifest
from jeeves_shared.contracts.plans import TrainingPlan
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest

_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}
_GIB = 1024**3


def plan_training(
    recipe: TrainRecipe, dataset: DatasetManifest, as_json: bool, parent: TrainingManifest | None = None
) -> Exit:
    """Ask the trainer for its plan and show it.

    Args:
        recipe: validated.
        dataset: manifest.
        as_json: the plan on standard output, nothing else.
        parent: training to go on from.

    Returns:
        `USAGE` if something speaks against running it.

    Raises:
        CommandError: the trainer is away or could not make a plan.
    """
    display = make_display(as_json)
    with display.stage("plan") as stage:
        plan = ServiceClient("trainer").run_job(
            "plans", TrainingRequest(recipe=recipe, dataset=dataset, parent=parent), TrainingPlan, stage.progress
        )
        stage.done(f"{plan.recipe}: {plan.steps or '?'} steps on {plan.device}")
    if as_json:
        print(plan.model_dump_json(indent=2))
    elif isinstance(display, ConsoleDisplay):
        for line in plan_lines(plan):
            display.line(line)
    return Exit.OK if plan.ready else Exit.USAGE


def plan_lines(plan: TrainingPlan) -> list[str]:
    """A plan for people."""
    lines = [f"  {_MARKS[finding.severity]} {finding.name}: {finding.text}" for finding in plan.findings]
    if plan.memory is not None:
        lines.append(f"  {plan.parameters / 1e6:,.0f} M parameters, {plan.trained_parameters / 1e6:,.1f} M trained")
        lines += [f"    {name:<12}{size / _GIB:8.2f} GiB" for name, size in plan.memory.model_dump().items()]
        lines.append(f"    {'together':<12}{plan.memory.total / _GIB:8.2f} GiB")
    lines += [f"  → {text}" for text in plan.advice]
    return lines
