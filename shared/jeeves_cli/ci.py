"""`jeeves ci`: the decisions of a pipeline, as exit codes and files. What the Jenkinsfile calls beside the steps.

Exit codes are those of `jeeves`; 3 says no: a person must look, no file passed, or the canary is worse.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from jeeves_cli.ci_reports import write_reports
from jeeves_cli.client import ServiceClient
from jeeves_cli.display import SilentDisplay
from jeeves_cli.endpoints import SERVICES
from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.manifest_files import read_manifest
from jeeves_cli.pipeline import Pipeline, model_file
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.canary import CanaryRequest, CanaryState
from jeeves_shared.contracts.jobs import Job
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest
from jeeves_shared.contracts.requests import ServeModelRequest

SWAP_TIMEOUT_SECONDS = 180.0
WATCH_INTERVAL_SECONDS = 2.0
_TRIAL = "/v1/admin/models/canary"

ci_app = typer.Typer(no_args_is_help=True, help="Decisions of a pipeline, as exit codes and files.")

Out = Annotated[Path, typer.Option("--out", help="Write the result to this file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, nothing else.")]


def _give(result: dict[str, Any], out: Path | None, as_json: bool) -> None:
    text = json.dumps(result, indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out, text.encode("utf-8"))
    if as_json:
        print(text)
    else:
        print(result["reason"])


@ci_app.command("preflight")
def preflight(
    out: Out,
    free_gib: Annotated[float, typer.Option(help="Space that must be free here, GiB.")] = 2.0,
    gpu: Annotated[bool, typer.Option("--gpu", help="A GPU must be here.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check disk, GPU and that every service is ready; exit 4 if one is not, 1 if something is missing here."""
    missing: list[str] = []
    free = shutil.disk_usage(Path.cwd()).free / 1024**3
    if free < free_gib:
        missing.append(f"{free:.1f} GiB free here, {free_gib:g} GiB are needed")
    if gpu and shutil.which("nvidia-smi") is None:
        missing.append("no GPU here (nvidia-smi is not installed)")
    away = [reason for name in SERVICES if (reason := _not_ready(name))]
    reason = "; ".join([*missing, *away]) or "all services are ready"
    _give({"ready": not (missing or away), "free_gib": round(free, 1), "reason": reason}, out, as_json)
    return Exit.UNREACHABLE if away else Exit.FAILED if missing else Exit.OK


def _not_ready(service: str) -> str:
    client = ServiceClient(service)
    # A new gateway is alive but not ready: model and index are what the pipeline brings.
    probe = "healthz" if service == "gateway" else "readyz"
    try:
        response = httpx.get(f"{client.url}/{probe}", timeout=10.0, trust_env=client.trust_env)
    except httpx.TransportError:
        return f"the {service} does not answer at {client.url}"
    if response.status_code == httpx.codes.OK:
        return ""
    return f"the {service} is not ready: {response.text[:200]}"


@ci_app.command("review")
def review(
    dataset: Annotated[Path, typer.Option(help="Manifest of the new data set.")],
    out: Out,
    max_change: Annotated[float, typer.Option(min=0.0, help="Share by which a count may change unseen.")] = 0.2,
    as_json: AsJson = False,
) -> int:
    """Compare a data set with the champion's; exit 3 if it differs so much that a person must look.

    Beside the result it writes the same name with .txt: `review` or `go on`.
    """
    new = read_manifest(DatasetManifest, dataset)
    old = _champions_dataset(Pipeline(SilentDisplay()))
    changes = {} if old is None else _changes(old, new)
    large = {name: change for name, change in changes.items() if abs(change) > max_change}
    told = ", ".join(f"{name} {change:+.0%}" for name, change in large.items())
    reason = (
        f"a person must look: {told}" if large else "no champion to compare with" if old is None else "small changes"
    )
    result = {"dataset_id": new.id, "champion_dataset_id": old.id if old else "", "changes": changes, "reason": reason}
    _give(result, out, as_json)
    _word(out.with_suffix(".txt"), "review" if large else "go on")
    return Exit.GATE_REFUSED if large else Exit.OK


def _champions_dataset(pipeline: Pipeline) -> DatasetManifest | None:
    champion = pipeline.champion()
    if champion is None or not champion.dataset_id:
        return None
    jobs = (Job.model_validate(item) for item in pipeline.curator.request("GET", "/v1/datasets"))
    results = (DatasetManifest.model_validate(job.result) for job in jobs if job.result is not None)
    return next((manifest for manifest in results if manifest.id == champion.dataset_id), None)


def _changes(old: DatasetManifest, new: DatasetManifest) -> dict[str, float]:
    """Relative change of each count: 0.5 is half more."""
    pairs = {
        "pairs kept": (old.pairs_kept, new.pairs_kept),
        "training samples": (old.train_samples, new.train_samples),
        "evaluation samples": (old.evaluation_samples, new.evaluation_samples),
        "pairs dropped": (sum(old.drops.values()), sum(new.drops.values())),
    }
    return {name: round((after - before) / max(before, 1), 4) for name, (before, after) in pairs.items()}


@ci_app.command("choose")
def choose(
    manifests: Annotated[Path, typer.Option(help="Folder with model-TYPE.json and report-TYPE.json.")],
    as_json: AsJson = False,
) -> int:
    """Choose the smallest file that passed its gate; exit 3 if none did.

    Writes chosen.json and, for the steps after it, chosen-model.json, chosen-report.json and title.txt.
    """
    reports = [read_manifest(EvaluationReport, path) for path in manifests.glob("report-*.json")]
    passed = sorted((one for one in reports if one.passed), key=lambda one: one.file.size_bytes)
    if not passed:
        refused = [
            f"{one.quantization}: {condition.reason}"
            for one in reports
            for condition in one.gate
            if not condition.passed
        ]
        reason = "refused: " + ("; ".join(refused) or "there is no report")
        _word(manifests / "title.txt", "refused")
        _give({"passed": False, "reason": reason}, manifests / "chosen.json", as_json)
        return Exit.GATE_REFUSED
    chosen = passed[0]
    model = read_manifest(ModelManifest, manifests / f"model-{chosen.quantization}.json")
    for name, contract in (("model", model), ("report", chosen)):
        write_atomic(manifests / f"chosen-{name}.json", contract.model_dump_json(indent=2).encode("utf-8"))
    _word(manifests / "title.txt", f"v{model.version} {chosen.quantization}")
    reason = f"{model.name} v{model.version} {chosen.quantization} passed {len(chosen.gate)} conditions"
    _give({"passed": True, "model_id": model.id, "reason": reason}, manifests / "chosen.json", as_json)
    return Exit.OK


def _word(path: Path, word: str) -> None:
    write_atomic(path, f"{word}\n".encode())


@ci_app.command("canary")
def canary(
    manifests: Annotated[Path, typer.Option(help="Folder with chosen-model.json and chosen-report.json.")],
    share: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Of the conversations; at most 0.5 unless shadow.")
    ] = 0.1,
    minutes: Annotated[float, typer.Option(min=0.0, help="How long it is tried at most.")] = 10.0,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Judge the candidate's answers, give them to nobody.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Try the candidate on a share of the conversations; exit 3 if the gateway finds it worse and ends the trial.

    Ends early when the gateway knows that it is as good. The champion serves all along, and alone afterwards.
    """
    model = read_manifest(ModelManifest, manifests / "chosen-model.json")
    report = read_manifest(EvaluationReport, manifests / "chosen-report.json")
    if not report.passed:
        raise CommandError("The gate refused this model: it serves no one.", Exit.GATE_REFUSED)
    model_file(model, report.quantization)
    out = manifests / "canary.json"
    champion = Pipeline(SilentDisplay()).champion()
    if champion is not None and champion.id == model.id:
        _give({"state": "champion", "reason": f"v{model.version} is the champion already"}, out, as_json)
        return Exit.OK
    gateway = ServiceClient("gateway")
    serve = ServeModelRequest(model=model, quantization=report.quantization)
    trial = _begin_trial(gateway, CanaryRequest(serve=serve, share=share, shadow=shadow))
    deadline = time.monotonic() + minutes * 60.0
    down = 0
    while not trial.ended and trial.verdict == "running" and down < 2 and time.monotonic() < deadline:
        time.sleep(min(WATCH_INTERVAL_SECONDS, max(0.0, deadline - time.monotonic())))
        trial = _trial(gateway)
        # Without questions nobody but this command notices that its engine is gone.
        down = down + 1 if trial.model.state != "ready" else 0
    if not trial.ended:
        gateway.request("DELETE", _TRIAL)
    worse = trial.ended or ("its engine is down" if down >= 2 else "")
    figures = (
        f"{trial.bad} of {trial.answers} answers bad, the champion's {trial.champion_bad} of {trial.champion_answers}"
    )
    if worse:
        reason = f"the canary is worse ({worse}): {figures}"
        _give({"state": "rolled-back", "reason": reason, "trial": trial.model_dump(mode="json")}, out, as_json)
        return Exit.GATE_REFUSED
    known = "as good" if trial.verdict == "as-good" else f"not known to be worse after {minutes:g} minutes"
    _give({"state": "passed", "reason": f"{known}: {figures}", "trial": trial.model_dump(mode="json")}, out, as_json)
    return Exit.OK


def _begin_trial(gateway: ServiceClient, request: CanaryRequest) -> CanaryState:
    """Start a trial, or go on with the one of the same model that an earlier command began."""
    running = gateway.request("GET", "/v1/admin/status").get("canary") or {}
    if running and running["id"] == request.serve.model.id:
        return _trial(gateway)
    if running:
        gateway.request("DELETE", _TRIAL)
    return CanaryState.model_validate(gateway.request("PUT", _TRIAL, request, timeout_seconds=SWAP_TIMEOUT_SECONDS))


def _trial(gateway: ServiceClient) -> CanaryState:
    return CanaryState.model_validate(gateway.request("GET", _TRIAL))


@ci_app.command("undo-canary")
def undo_canary(as_json: AsJson = False) -> int:
    """End a trial that a build left behind, and roll the gateway back if it serves what is not the champion."""
    gateway = ServiceClient("gateway")
    status = gateway.request("GET", "/v1/admin/status")
    if status.get("canary"):
        gateway.request("DELETE", _TRIAL)
    served = status.get("model") or {}
    champion = Pipeline(SilentDisplay()).champion()
    kept = champion.id if champion is not None else ""
    if served.get("id") == kept or (champion is None and not served.get("version")):
        ended = bool(status.get("canary"))
        reason = "the trial was ended" if ended else "the gateway serves the champion"
        _give({"undone": ended, "reason": reason}, None, as_json)
        return Exit.OK
    gateway.request("POST", "/v1/admin/rollback", timeout_seconds=SWAP_TIMEOUT_SECONDS)
    _give({"undone": True, "reason": "rolled back to the model before the canary"}, None, as_json)
    return Exit.OK


@ci_app.command("reports")
def reports(
    manifests: Annotated[Path, typer.Option(help="Folder of the build's manifests.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for JUnit, HTML and CSV.")],
) -> int:
    """Write what a CI server shows: JUnit of the gates, HTML cards, CSV for plots. Writes what there is."""
    for path in write_reports(manifests, out):
        print(path)
    return Exit.OK


@ci_app.command("announce")
def announce(
    text: Annotated[str, typer.Option(help="What people are told.")],
    url: Annotated[
        str,
        typer.Option(
            envvar="ANNOUNCE_URL", help='Gets {"text": …}, as Slack, Mattermost and Google Chat take it. Secret.'
        ),
    ],
) -> int:
    """Tell a chat room; exit 1 if it does not take it. The address, which is a secret there, is never shown."""
    try:
        response = httpx.post(url, json={"text": text}, timeout=20.0)
    except (httpx.TransportError, httpx.InvalidURL) as exc:
        # Words of such an error may hold the address, and so may its cause.
        raise CommandError(f"The address of the announcement cannot be asked ({type(exc).__name__}).") from None
    if response.is_error:
        raise CommandError(f"The announcement was refused with HTTP {response.status_code}: check its address.")
    return Exit.OK
