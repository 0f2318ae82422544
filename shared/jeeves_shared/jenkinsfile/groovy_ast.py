"""The statements of a Groovy file, read by Groovy's own parser in a process that serves many files.

Jenkins embeds Groovy 2.4; Debian's package is of that line. The process parses only: nothing of a file is looked up,
compiled to code or run, so files of strangers are safe to give.
"""

import json
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jeeves_shared.errors import JeevesError, NotReady

PARSE_TIMEOUT_SECONDS = 60.0
"""Longest wait for one file, including the start of the process (under a second on an idle core)."""

MAX_TEXT_BYTES = 2_000_000
"""Longer texts are no Jenkinsfiles, and would only keep the parser busy."""

_POSITION = re.compile(r"\s+at line: \d+ column: \d+\. File: .*", re.DOTALL)
"""What some messages repeat of their position."""

_PROGRAM = Path(__file__).with_name("dump_ast.groovy")


class GroovyMissing(NotReady):
    """No Groovy on this machine."""

    code = "groovy-missing"
    title = "Groovy is not installed"


class GroovyFailed(JeevesError):
    """Groovy did not answer."""

    code = "groovy-failed"
    title = "Groovy failed"


@dataclass(frozen=True)
class Node:
    """One node of the tree; which attributes are set depends on `kind`.

    Attributes:
        kind: `call`, `new`, `closure`, `constant`, `gstring`, `variable`, `property`, `map`, `list`, `binary`,
            `declaration` or `other`.
        line: 1-based, below 1 for what the compiler added.
        column: 1-based.
        name: of a call, a variable or a property; None where it is computed.
        type: class of a constant's value, or of an `other` node.
        value: of a constant; numbers as text.
        target: what a call or a property belongs to; None where that is the script itself.
        arguments: of a call.
        children: operands, items, statements of a body.
        entries: of a map.
        operator: of a `binary`.
        parameters: names that a closure, a loop or a `catch` declares.
    """

    kind: str
    line: int
    column: int
    name: str | None = None
    type: str = ""
    value: str | bool | None = None
    target: "Node | None" = None
    arguments: tuple["Node", ...] = ()
    children: tuple["Node", ...] = ()
    entries: tuple[tuple["Node", "Node"], ...] = ()
    operator: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def block(self) -> "Node | None":
        """The closure that a call ends with: `name(…) { … }`."""
        last = self.arguments[-1] if self.kind == "call" and self.arguments else None
        return last if last is not None and last.kind == "closure" else None

    @property
    def plain_arguments(self) -> tuple["Node", ...]:
        """A call's arguments without its block."""
        return self.arguments if self.block is None else self.arguments[:-1]

    @property
    def is_own_call(self) -> bool:
        """A call of a step or directive, not a method of an object."""
        return self.kind == "call" and self.target is None and self.name is not None

    @property
    def text(self) -> str | None:
        """The string of a string constant."""
        return self.value if self.kind == "constant" and isinstance(self.value, str) and self.type == "String" else None

    def walk(self) -> Iterator["Node"]:
        """This node and all below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += [node.target] if node.target is not None else []
            waiting += [*node.arguments, *node.children]
            waiting += [part for entry in node.entries for part in entry]


@dataclass(frozen=True)
class SyntaxFault:
    """Where the parser gave up."""

    line: int
    column: int
    message: str


@dataclass(frozen=True)
class Function:
    """A function or method that a file defines.

    Attributes:
        name: of it.
        parameters: their names.
        in_class: it belongs to a class of the file, and not to the script.
        body: its statements.
    """

    name: str
    parameters: tuple[str, ...]
    in_class: bool
    body: tuple[Node, ...]


@dataclass(frozen=True)
class ParsedFile:
    """A file as the parser saw it.

    Attributes:
        faults: not empty if it is not Groovy; then the rest is empty.
        statements: of the top level.
        functions: that the file defines.
        annotations: names of annotations on imports, such as `Library`.
    """

    faults: tuple[SyntaxFault, ...]
    statements: tuple[Node, ...] = ()
    functions: tuple[Function, ...] = ()
    annotations: tuple[str, ...] = ()


def java_home() -> str | None:
    """`JAVA_HOME`, else the folder of the `java` on the PATH; Debian's `groovy` needs it."""
    if given := os.environ.get("JAVA_HOME"):
        return given
    java = shutil.which("java")
    return str(Path(java).resolve().parents[1]) if java else None


def groovy_available() -> bool:
    """Whether files can be parsed on this machine."""
    return shutil.which("groovy") is not None and java_home() is not None


class GroovyParser:
    """One parser process; a context manager. Not for several threads at once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def parse(self, text: str) -> ParsedFile:
        """Parse one file.

        Raises:
            GroovyMissing: no `groovy` or no `java` on the PATH.
            GroovyFailed: it ended, or did not answer within `PARSE_TIMEOUT_SECONDS`.
        """
        if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            return ParsedFile((SyntaxFault(1, 1, f"longer than {MAX_TEXT_BYTES} bytes"),))
        process = self._process or self._start()
        assert process.stdin is not None  # noqa: S101  (told Popen so)
        try:
            # Lone surrogates cannot be sent; what they stand for was no text.
            clean = text.encode("utf-8", "replace").decode("utf-8")
            process.stdin.write(json.dumps({"name": "", "text": clean}) + "\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=PARSE_TIMEOUT_SECONDS)
        except (queue.Empty, BrokenPipeError) as exc:
            self.close()
            raise GroovyFailed(f"groovy did not answer within {PARSE_TIMEOUT_SECONDS:.0f} s; try again.") from exc
        if not answer:
            self.close()
            raise GroovyFailed("groovy ended without an answer; run `groovy --version` to see why.")
        return _parsed(json.loads(answer))

    def _start(self) -> subprocess.Popen[str]:
        program, home = shutil.which("groovy"), java_home()
        if program is None or home is None:
            raise GroovyMissing(
                "Checking a Jenkinsfile needs Groovy 2.4 and Java: apt install groovy default-jre-headless."
            )
        self._process = process = subprocess.Popen(
            [program, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            cwd=tempfile.gettempdir(),
            env={
                **os.environ,
                "JAVA_HOME": home,
                "JAVA_OPTS": "-Xss8m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            },
        )
        answers: queue.Queue[str] = queue.Queue()
        self._answers = answers
        threading.Thread(target=_forward, args=(process, answers), daemon=True).start()
        return process


def _forward(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None  # noqa: S101
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def _parsed(answer: dict[str, Any]) -> ParsedFile:
    if answer["errors"]:
        faults = (
            SyntaxFault(max(1, error["line"]), max(1, error["column"]), _POSITION.sub("", error["message"]).strip())
            for error in answer["errors"]
        )
        return ParsedFile(tuple(faults))
    return ParsedFile(
        (),
        _nodes(answer["statements"]),
        tuple(
            Function(one["name"], tuple(one["parameters"]), one["inClass"], _nodes(one["body"]))
            for one in answer["functions"]
        ),
        tuple(answer["imports"]),
    )


def _nodes(items: list[dict[str, Any]]) -> tuple[Node, ...]:
    return tuple(_node(item) for item in items)


def _node(item: dict[str, Any]) -> Node:
    target = item.get("object")
    return Node(
        kind=item["kind"],
        line=item["line"],
        column=item["column"],
        name=item.get("name"),
        type=item.get("type", ""),
        value=item.get("text") if item["kind"] == "gstring" else item.get("value"),
        target=_node(target) if target is not None else None,
        arguments=_nodes(item.get("arguments", [])),
        children=_nodes(item.get("children") or item.get("body") or item.get("values") or []),
        entries=tuple((_node(key), _node(value)) for key, value in item.get("entries", [])),
        operator=item.get("operator", ""),
        parameters=tuple(item.get("parameters", ())),
    )
