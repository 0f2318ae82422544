"""The project's Jenkinsfile, executed by the runner with a stand-in for the `jeeves` command."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer.main
from declarative_runner import DeclarativeRunner, Event, Finished

from jeeves_cli.main import app
from jeeves_cli.recipes import load_recipe
from jeeves_shared.contracts.recipes import EvaluateRecipe, TrainRecipe

ROOT = Path(__file__).parents[2]
JENKINSFILE = ROOT / "Jenkinsfile"
STAGES = (
    "Preflight", "Collect", "Curate", "Compare data", "Data review", "Train on a GPU", "Train on the CPU", "Quantize",
    "Suites", "Evaluate", "Gate", "Canary", "Approve", "Promote", "Announce",
)  # fmt: skip
AGENTS = [{"name": "cpu-1", "labels": ["jeeves"]}, {"name": "gpu-1", "labels": ["gpu"]}]
CREDENTIALS = {"jeeves-token": "tok-5e2b91", "jeeves-api-key": "key-77aa10"}


class Pipeline:
    """Runs of the Jenkinsfile in one folder."""

    def __init__(self, runner: DeclarativeRunner, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.seen = folder / "seen.jsonl"

    def run(self, plan: dict[str, Any] | None = None, *, state: str = "1", **spec: Any) -> Finished:
        (self.folder / "plan.json").write_text(json.dumps(plan or {}), encoding="utf-8")
        self.seen.write_text("", encoding="utf-8")
        source = self.folder / "source"
        source.mkdir(exist_ok=True)
        env = {"JEEVES_PLAN": str(self.folder / "plan.json"), "JEEVES_SEEN": str(self.seen)}
        return self.runner.run(
            JENKINSFILE,
            self.folder / state,
            path=[Path(__file__).parent / "stand_ins"],
            env={**env, **spec.pop("env", {})},
            **{"agents": AGENTS, "credentials": CREDENTIALS, "source": str(source), **spec},
        )

    def commands(self) -> list[list[str]]:
        return [json.loads(line) for line in self.seen.read_text(encoding="utf-8").splitlines()]

    def names(self) -> list[str]:
        return [" ".join(call[: 2 if call[0] == "ci" else 1]) for call in self.commands()]


@pytest.fixture
def pipeline(runner: DeclarativeRunner, tmp_path: Path) -> Pipeline:
    return Pipeline(runner, tmp_path)


def _top(build: Finished) -> list[str]:
    ended = [event for event in build.events if event["event"] in ("stage-end", "stage-skipped")]
    return [event["path"][0] for event in ended if len(event["path"]) == 1]


def test_from_documents_to_a_champion(pipeline: Pipeline) -> None:
    hostile = {"SOURCE": 'documents "of" $(touch broken) ours', "PAIRS": "pairs; touch broken"}
    build = pipeline.run(params=hostile, number=7)
    assert build.result == "SUCCESS", build.log
    assert tuple(_top(build)) == STAGES
    others = [
        f"{stage} / Matrix - QUANTIZATION = '{kind}'"
        for stage in ("Quantize", "Evaluate")
        for kind in ("Q6_K", "Q5_K_M", "Q4_K_M")
    ]
    assert build.skipped().keys() == {"Train on a GPU", "Suites", "Approve", *others}
    assert build.name == "#7 v3 Q8_0"
    assert build.description == "Promoted: v3 Q8_0"
    assert pipeline.names() == [
        "ci preflight", "collect", "index", "curate", "ci review", "ci reports", "train", "quantize", "evaluate",
        "ci choose", "ci reports", "ci canary", "index", "promote", "status",
    ]  # fmt: skip
    commands = typer.main.get_command(app)
    for call in pipeline.commands():
        _parse(commands, call)
    (collect,) = (call for call in pipeline.commands() if call[0] == "collect")
    assert hostile["SOURCE"] in collect
    assert hostile["PAIRS"] in collect
    assert not list(pipeline.folder.rglob("broken"))
    (promote,) = (call for call in pipeline.commands() if call[0] == "promote")
    assert "jenkins-jeeves-7" in promote[promote.index("--reason") + 1]
    assert {"manifests/dataset.json", "manifests/report-Q8_0.json", "manifests/served.json"} <= build.archived()
    assert {event["name"] for event in build.named("html")} == {"Data set card", "Model card"}
    assert {event["title"] for event in build.named("plot")} == {"Loss", "Quality"}
    assert build.named("junit")
    assert not any(secret in json.dumps(build.events) for secret in CREDENTIALS.values())
    # `cleanup` left nothing on the agent.
    assert not list((pipeline.folder / "1" / "workspaces" / "cpu-1").glob("*"))


def _parse(commands: Any, call: list[str]) -> None:
    """Raises what the command line raises for anything unknown or missing."""
    command = commands.commands[call[0]]
    rest = call[1:]
    if call[0] == "ci":
        command, rest = command.commands[call[1]], call[2:]
    command.make_context(call[0], list(rest))


def test_the_gate_refuses(pipeline: Pipeline) -> None:
    plan = {"evaluate": {"exit": 3}, "ci choose": {"exit": 3}, "ci reports": {"refused": True}}
    build = pipeline.run(plan)
    assert build.result == "UNSTABLE"
    assert build.description == "Not promoted: the gate refused the candidate"
    assert "the champion is unchanged" in build.log
    assert not {"promote", "ci canary"} & set(pipeline.names())
    assert pipeline.names()[-1] == "ci undo-canary"
    assert build.stages()["Gate"] == "UNSTABLE"


def test_the_canary_is_worse(pipeline: Pipeline) -> None:
    build = pipeline.run({"ci canary": {"exit": 3}})
    assert (build.result, build.stages()["Canary"]) == ("UNSTABLE", "UNSTABLE")
    assert "canary was worse" in (build.description or "")
    assert "promote" not in pipeline.names()
    assert "ci undo-canary" in pipeline.names()


@pytest.mark.parametrize(
    ("step", "code", "stage", "message"),
    [
        ("ci preflight", 4, "Preflight", "the trainer does not answer"),
        ("train", 5, "Train on the CPU", "No space left on device"),
        ("evaluate", 5, "Evaluate", "the engine ended"),
        ("ci canary", 4, "Canary", "the gateway does not answer"),
    ],
)
def test_a_step_that_fails_ends_the_build_with_its_words(
    step: str, code: int, stage: str, message: str, pipeline: Pipeline
) -> None:
    build = pipeline.run({step: {"exit": code, "message": message}})
    assert (build.result, build.stages()[stage]) == ("FAILURE", "FAILURE")
    assert message in build.log
    assert "promote" not in pipeline.names()
    assert pipeline.names()[-1] == "ci undo-canary"


@pytest.mark.parametrize(
    ("plan", "result", "text"),
    [
        ({"ci announce": {"exit": 1}}, "SUCCESS", "Promoted: v3 Q8_0"),
        ({"ci choose": {"exit": 3}}, "UNSTABLE", "ended as UNSTABLE: Not promoted: the gate refused the candidate"),
    ],
)
def test_a_chat_room_is_told_how_a_build_ends(plan: dict[str, Any], result: str, text: str, pipeline: Pipeline) -> None:
    secret = "https://chat.invalid/hooks/T0-very-secret"
    build = pipeline.run(plan, params={"ANNOUNCE_CREDENTIALS": "room"}, credentials={**CREDENTIALS, "room": secret})
    assert build.result == result, build.log
    (call,) = (call for call in pipeline.commands() if call[:2] == ["ci", "announce"])
    assert call[2] == "--text" and text in call[3] and "jenkins.invalid" in call[3]
    assert secret not in build.log and secret not in json.dumps(build.events)


def test_collecting_is_tried_again(pipeline: Pipeline) -> None:
    build = pipeline.run({"collect": {"exit": 5}})
    assert build.result == "FAILURE"
    assert pipeline.names().count("collect") == 2


def test_a_large_change_of_the_data_asks_a_person(pipeline: Pipeline) -> None:
    plan = {"ci review": {"exit": 3}}
    build = pipeline.run(plan, inputs={"data-review": {"action": "proceed", "by": "ann"}})
    assert build.result == "SUCCESS", build.log
    (asked,) = build.named("input")
    assert "Data_20set_20card" in asked["message"]
    rejected = pipeline.run(plan, state="2", inputs={"data-review": {"action": "abort", "by": "bob"}})
    assert rejected.result == "ABORTED"
    assert "train" not in pipeline.names()
    forced = pipeline.run(plan, state="3", params={"FORCE": True})
    assert forced.result == "SUCCESS"
    assert not forced.named("input")


def test_the_promotion_may_need_approval_and_a_dry_run_stops_before_it(pipeline: Pipeline) -> None:
    build = pipeline.run(params={"APPROVE": True}, inputs={"promote": {"action": "abort", "by": "bob"}})
    assert build.result == "ABORTED"
    assert "promote" not in pipeline.names()
    assert "ci undo-canary" in pipeline.names(), "the gateway goes back to the champion"
    dry = pipeline.run(state="2", params={"DRY_RUN": True})
    assert (dry.result, dry.description) == ("SUCCESS", "Dry run: it would be promoted")
    assert not {"promote", "ci canary", "ci undo-canary"} & set(pipeline.names())


def test_several_quantizations_go_side_by_side_and_the_gpu_is_locked(pipeline: Pipeline) -> None:
    build = pipeline.run(params={"QUANTIZATIONS": "Q8_0, Q4_K_M", "GPU": True})
    assert build.result == "SUCCESS", build.log
    assert sorted(call[4] for call in pipeline.commands() if call[0] == "quantize") == ["Q4_K_M", "Q8_0"]
    assert [event["resource"] for event in build.named("lock")] == ["jeeves-gpu"]
    (train,) = (event for event in build.named("sh") if "jeeves train" in event["script"])
    assert train["agent"] == "gpu-1"


def test_suites_go_side_by_side_and_one_that_refuses_colours_its_cell(pipeline: Pipeline) -> None:
    plan = {"evaluate": {"exit": 3, "only": "manifests/suite-Q8_0-safety.json"}}
    build = pipeline.run(plan, params={"SUITES": "safety, general"})
    assert build.result == "SUCCESS", build.log
    calls = [call for call in pipeline.commands() if call[0] == "evaluate"]
    assert sorted(call[call.index("--suites") + 1] for call in calls if "--suites" in call) == ["general", "safety"]
    assert len(calls) == 3 and "--suites" not in calls[-1]
    cells = {name: result for name, result in build.stages().items() if name.endswith("Run one")}
    assert sorted(cells.values()) == ["SUCCESS", "UNSTABLE"], cells
    assert {"manifests/suite-Q8_0-safety.json", "manifests/suite-Q8_0-general.json"} <= build.archived()


def test_an_abort_during_training_reaches_the_command_and_quantize_can_be_restarted(pipeline: Pipeline) -> None:
    def abort(event: Event, send: Any) -> None:
        if event.get("line") == "jeeves train works":
            send(abort=True)

    build = pipeline.run({"train": {"sleep": 300}}, react=abort)
    assert build.result == "ABORTED"
    assert pipeline.names()[-1] == "ci undo-canary"

    again = pipeline.run(number=2)
    assert again.result == "SUCCESS", again.log
    restarted = pipeline.run(number=3, restartFrom="Quantize")
    assert restarted.result == "SUCCESS", restarted.log
    assert [stage for stage, reason in restarted.skipped().items() if reason == "the restart"] == list(STAGES[:7])
    assert pipeline.names()[:2] == ["quantize", "evaluate"]


def test_a_lost_agent_fails_the_build_and_says_so(pipeline: Pipeline) -> None:
    def lose(event: Event, send: Any) -> None:
        if event.get("line") == "jeeves train works":
            send(lose="gpu-1")

    build = pipeline.run({"train": {"sleep": 300}}, params={"GPU": True}, react=lose)
    assert build.result == "FAILURE"
    assert "Agent gpu-1 was lost" in build.log
    assert pipeline.names()[-1] == "ci undo-canary"


def test_the_default_recipes_are_shipped(runner: DeclarativeRunner) -> None:
    text = JENKINSFILE.read_text(encoding="utf-8")
    recipes = [line.split("'")[3] for line in text.splitlines() if "_RECIPE'" in line and "string(" in line]
    assert len(recipes) == 4
    assert all((ROOT / recipe).is_file() for recipe in recipes)


def test_the_recipes_of_whole_builds_can_be_read() -> None:
    recipes = ROOT / "tests" / "jenkins" / "recipes"
    names = {load_recipe(TrainRecipe, recipes / f"train-{name}.yaml").name for name in ("build", "again", "worse")}
    assert names == {"build", "again", "worse"}
    assert load_recipe(EvaluateRecipe, recipes / "evaluate-build.yaml").name == "build"
