"""`jeeves diagnose`: a console log to the gateway, its diagnosis to the terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import httpx
import typer
from pydantic import ValidationError

from jeeves_cli.client import ServiceClient, error_text
from jeeves_cli.exits import CommandError, Exit, ServiceUnreachable
from jeeves_shared.contracts.diagnosis import Diagnosis, DiagnosisPreview, LogFindings

_BLOCK_BYTES = 64 * 1024
_TIMEOUT = httpx.Timeout(180.0, connect=5.0)


def diagnose(
    log: Annotated[
        str, typer.Argument(help="File (text, gzip or a build's raw `log`), - for stdin, or a build's URL.")
    ],
    preview: Annotated[bool, typer.Option("--preview", help="Show exactly what a model would see.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> int:
    """Say why a build failed, from its console log: cause, evidence, fix, sources."""
    gateway = ServiceClient("gateway")
    if log.startswith(("http://", "https://")):
        body = _post(gateway, preview, json={"build_url": log})
    elif log == "-":
        body = _post(gateway, preview, content=_blocks(sys.stdin.buffer))
    else:
        try:
            with Path(log).open("rb") as file:
                body = _post(gateway, preview, content=_blocks(file))
        except OSError as exc:
            raise CommandError(f"{log} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    try:
        if preview:
            _show_preview(DiagnosisPreview.model_validate_json(body), body if as_json else b"")
        else:
            _show(Diagnosis.model_validate_json(body), as_json)
    except ValidationError as exc:
        raise CommandError("The gateway's answer is no diagnosis: it is of another version.") from exc
    return Exit.OK


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _post(
    gateway: ServiceClient, preview: bool, content: Iterator[bytes] | None = None, json: dict[str, str] | None = None
) -> bytes:
    headers = gateway.headers | ({"Content-Type": "application/octet-stream"} if content is not None else {})
    try:
        with httpx.Client(base_url=gateway.url, timeout=_TIMEOUT, trust_env=gateway.trust_env) as http:
            response = http.post(
                "/v1/diagnose", params={"preview": preview}, content=content, json=json, headers=headers
            )
    except httpx.TimeoutException as exc:
        raise CommandError("The gateway did not answer in time: try again, or send the last part of the log.") from exc
    except httpx.TransportError as exc:
        raise ServiceUnreachable("gateway", gateway.url) from exc
    if response.is_error:
        raise CommandError(error_text("gateway", response))
    return response.content


def _show(diagnosis: Diagnosis, as_json: bool) -> None:
    if as_json:
        print(diagnosis.model_dump_json(indent=2))
        return
    found = diagnosis.findings
    stage = f" in stage {found.failing_stage}" if found.failing_stage else ""
    print(f"{found.failure_type}{stage} · confidence {found.confidence} · {found.lines} lines")
    print(f"\nCause  {found.cause}")
    _show_evidence(found)
    for number, step in enumerate(found.fix, start=1):
        print(f"{'Fix' if number == 1 else '   '} {number}. {step}")
    if diagnosis.explanation:
        print(f"\n{diagnosis.explanation}")
    for citation in diagnosis.citations:
        print(f"[{citation.number}] {citation.title} › {citation.section}  {citation.url or citation.source_path}")
    if diagnosis.rung != "full":
        print(f"({diagnosis.rung}: {', '.join(diagnosis.reasons) or 'no model'})")


def _show_evidence(found: LogFindings) -> None:
    print()
    for line in found.evidence:
        print(f"  {line.line:>7} │ {line.text}")
    print()


def _show_preview(preview: DiagnosisPreview, body: bytes) -> None:
    if body:
        print(preview.model_dump_json(indent=2))
        return
    for message in preview.messages:
        print(f"--- {message.role}\n{message.content}")
    print("--- masked")
    for item in preview.findings.masked:
        print(f"{item.placeholder:<14} {item.kind:<8} {item.count}")
