"""Console logs of many kinds of failures, plain and under the noise of real builds: cause, evidence, stage, masking."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from jeeves_gateway.diagnosis.console import ConsoleLines, plain_text
from jeeves_gateway.diagnosis.diagnoser import question_about
from jeeves_gateway.diagnosis.digest import LogDigest
from jeeves_gateway.diagnosis.masking import Masker
from jeeves_shared.contracts.diagnosis import LogFindings

NOTE = "\x1b[8mha:////4OW44Qvewr4B4eqoelw+2xoOFtXUFqtKC2p2HTU7QB71AAAAmB+LCAAAAAAAAP9b85aBtbiIQTGjNKU4P08vOT+v\x1b[0m"
CASES = [
    case
    for path in sorted((Path(__file__).parent / "console_logs").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
HERRINGS = """
copying src/main/resources/error_pages/fatal-exception.html
[INFO] Tests run: 40, Failures: 0, Errors: 0, Skipped: 2
warning: unused variable `failure` (0 errors, 1 warning)
2025-03-04 10:00:01,118 WARN  o.a.Pool - attempt 1 failed, will retry: java.net.ConnectException: Connection refused
2025-03-04 10:00:03,204 INFO  o.a.Pool - attempt 2 succeeded
[WARNING] Could not transfer metadata org.x:y/maven-metadata.xml, falling back to the local copy: Connection timed out
rm: cannot remove '/tmp/pid': Permission denied
npm warn ERESOLVE overriding peer dependency
Unable to find image 'alpine:3' locally
PASS test/permission-denied.spec.js › refuses an invalid password
DEBUG http status: 404 Not Found for /favicon.ico (ignored)
which: no kubectl in (/usr/bin:/bin)
ERROR handler registered for NullPointerException
test_out_of_memory_error_is_reported PASSED
""".strip().splitlines()


def in_order(lines: list[str], _: random.Random) -> list[str]:
    return lines


def stamped(lines: list[str], dice: random.Random) -> list[str]:
    clock = dice.choice(["[2025-03-04T01:07:{:02d}.283Z] ", "01:07:{:02d}  ", "2025-03-04 01:07:{:02d} "])
    return [clock.format(number % 60) + line for number, line in enumerate(lines)]


def decorated(lines: list[str], dice: random.Random) -> list[str]:
    return [
        NOTE + line
        if line.startswith("[Pipeline]") or dice.random() < 0.1
        else f"\x1b[31m{line[:6]}\x1b[0m{line[6:]}\r"
        for line in lines
    ]


def after_herrings(lines: list[str], dice: random.Random) -> list[str]:
    """A stage, or an earlier command of a job without stages, that went well although it sounds bad."""
    herrings = ["+ ./warm-up.sh", *dice.sample(HERRINGS, len(HERRINGS)), "+ echo ready", "ready"]
    if not any(line.startswith("[Pipeline] { (") for line in lines):
        return [*herrings, *lines]
    begin = ["[Pipeline] stage", "[Pipeline] { (Warm up)", "[Pipeline] sh", *herrings]
    return [*begin, "[Pipeline] }", "[Pipeline] // stage", *lines]


def interleaved(lines: list[str], dice: random.Random) -> list[str]:
    """A parallel branch that goes well writes between the lines; not within a stack trace or a listing."""
    mixed = ["[Pipeline] { (Branch: quiet)"]
    for line in lines:
        mixed.append(line)
        if dice.random() < 0.15 and not line.startswith((" ", "\t")):
            mixed.append(f"[quiet] {dice.choice(HERRINGS)}")
    return mixed


NOISES: list[Callable[[list[str], random.Random], list[str]]] = [
    in_order, stamped, decorated, after_herrings, interleaved,
]  # fmt: skip


def diagnosed(lines: list[str]) -> LogFindings:
    console, masker = ConsoleLines(), Masker()
    digest = LogDigest(masker)
    for line in [*console.feed("\n".join(lines).encode()), *console.finish()]:
        digest.read(line)
    return digest.findings(console.lines, console.size_bytes)


def mistakes(case: dict, noise: Callable[[list[str], random.Random], list[str]]) -> list[str]:
    """What is wrong with the diagnosis of a case."""
    lines = noise(case["log"].splitlines(), random.Random(case["id"]))
    found = diagnosed(lines)
    wrong = []
    if found.failure_type not in case["type"]:
        wrong.append(f"type {found.failure_type} by {found.rule or 'no rule'}, not {case['type']}: {found.cause}")
    if not any(case["line"] in line.text for line in found.evidence):
        wrong.append(f"evidence lacks {case['line']!r}: {[line.text[:60] for line in found.evidence]}")
    if "stage" in case and found.failing_stage != case["stage"]:
        wrong.append(f"stage {found.failing_stage!r}, not {case['stage']!r}")
    seen = f"{found.model_dump_json()}\n{question_about(found)}"
    wrong += [f"not hidden: {value}" for value in case.get("hidden", ()) if value in seen]
    for line in found.evidence:
        # Placeholders aside, a line says what stands at its number in the log as it was sent.
        said, sent = line.text.split("[", 1)[0], plain_text(lines[line.line - 1])
        if said not in sent:
            wrong.append(f"line {line.line} is {sent!r}, not {line.text!r}")
    if not found.fix or "{" in found.cause.replace("{ ", ""):
        wrong.append(f"no fix, or a hole in the cause: {found.cause}")
    return wrong


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 100
    assert len({case["id"] for case in CASES}) == len(CASES)
    assert len({kind for case in CASES for kind in case["type"]}) >= 18


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.__name__)
def test_failures_are_told_apart(noise: Callable[[list[str], random.Random], list[str]]) -> None:
    wrong = {case["id"]: found for case in CASES if (found := mistakes(case, noise))}
    assert wrong == {}, json.dumps(wrong, indent=1, ensure_ascii=False)
