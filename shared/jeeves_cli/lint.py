"""`jeeves lint`: check Jenkinsfiles as Jenkins would, without a controller."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.errors import JeevesError
from jeeves_shared.jenkinsfile import Catalog, JenkinsfileLinter, Verdict, catalog_for, full_catalog, plugins_of


def lint(
    files: Annotated[list[Path], typer.Argument(help="Jenkinsfiles; - reads standard input.")],
    plugins: Annotated[
        Path | None, typer.Option(help="plugins.txt of the controller: steps of other plugins are unknown then.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings, such as unknown steps, count as errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, nothing else.")] = False,
) -> int:
    """Check Jenkinsfiles against the rules of Declarative Pipeline; exit 1 if one is wrong."""
    catalog = full_catalog() if plugins is None else _catalog(plugins)
    texts = [(str(file), _read(file)) for file in files]
    try:
        with JenkinsfileLinter(catalog) as linter:
            verdicts = [linter.check(text, name) for name, text in texts]
    except JeevesError as exc:
        raise CommandError(exc.detail, Exit.USAGE) from exc
    wrong = [verdict for verdict in verdicts if not verdict.valid or (strict and verdict.findings)]
    if as_json:
        print(json.dumps([asdict(verdict) | {"valid": verdict not in wrong} for verdict in verdicts], indent=2))
    else:
        for verdict in verdicts:
            _print(verdict, verdict in wrong)
    return Exit.FAILED if wrong else Exit.OK


def _catalog(plugins: Path) -> Catalog:
    return catalog_for(plugins_of(_read(plugins)))


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as exc:
        raise CommandError(f"{file} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    except UnicodeDecodeError as exc:
        raise CommandError(f"{file} is not UTF-8 text: {exc.reason} at byte {exc.start}.", Exit.USAGE) from exc


def _print(verdict: Verdict, wrong: bool) -> None:
    for finding in verdict.findings:
        where = f"{verdict.name}:{finding.line}:{finding.column}"
        print(f"{where}: {finding.severity}: {finding.message} [{finding.rule}]")
    if not wrong:
        print(f"{verdict.name}: {verdict.style}, no error")
