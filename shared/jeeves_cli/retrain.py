"""`jeeves retrain`: ask a Jenkins controller for a retraining, once per request, and follow the build."""

import importlib.util
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.errors import JeevesError

if TYPE_CHECKING:
    from jeeves_shared.retraining import Retraining


def retrain(
    request: Annotated[str, typer.Option(help="Names the request: repeated with the same name, it starts nothing.")],
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the pipeline; several are allowed.")
    ] = None,
    url: Annotated[str, typer.Option(envvar="JEEVES_JENKINS_URL", help="Of the controller.")] = "",
    job: Annotated[str, typer.Option(envvar="JEEVES_JENKINS_JOB", help="With its folders.")] = "jeeves/retrain",
    user: Annotated[str, typer.Option(envvar="JEEVES_JENKINS_USER", help="Token: JEEVES_JENKINS_TOKEN.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Wait for the end of the build.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each state as a line of JSON, nothing else.")] = False,
) -> int:
    """Start the retraining pipeline in Jenkins; with --follow, exit 3 if its gate refused, 5 if it failed."""
    if importlib.util.find_spec("jenkins") is None:
        raise CommandError("python-jenkins is not installed: pip install 'jeeves-shared[jenkins]'.", Exit.USAGE)
    from jeeves_shared.retraining import RetrainingTrigger  # noqa: PLC0415  (an extra)

    if not url:
        raise CommandError("Which controller? Give --url or JEEVES_JENKINS_URL.", Exit.USAGE)
    trigger = RetrainingTrigger(url, job, user=user, token=os.environ.get("JEEVES_JENKINS_TOKEN", ""))

    def show(state: "Retraining") -> None:
        print(
            json.dumps(asdict(state)) if as_json else f"{state.state} {state.url} {state.result or state.why}".strip()
        )

    try:
        started = trigger.start(request, _parameters(parameter or []))
        if not follow:
            show(started)
            return Exit.OK
        done = trigger.follow(started, show)
    except JeevesError as exc:
        raise CommandError(exc.detail, Exit.UNREACHABLE if exc.status == 503 else Exit.FAILED) from exc
    return {"SUCCESS": Exit.OK, "UNSTABLE": Exit.GATE_REFUSED}.get(done.result, Exit.JOB_FAILED)


def _parameters(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise CommandError(f"--parameter takes NAME=VALUE, not {wrong[0]}.", Exit.USAGE)
    return {name: value for name, _, value in pairs}
