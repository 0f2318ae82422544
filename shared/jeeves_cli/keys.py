"""`jeeves keys` and `jeeves switch`: the operator's side of the gateway."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from jeeves_cli.client import ServiceClient
from jeeves_cli.exits import Exit

keys_app = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")
switch_app = typer.Typer(no_args_is_help=True, help="Pin a rung of the degradation ladder.")


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who uses it.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="chat, diagnose, feedback, operate, admin.")
    ] = None,
) -> int:
    """Make a key; it is shown once."""
    print(
        json.dumps(
            ServiceClient("gateway").request("POST", "/v1/admin/keys", {"name": name, "scopes": scope or ["chat"]})
        )
    )
    return Exit.OK


@keys_app.command("list")
def list_keys() -> int:
    """Show the keys, without their secret part."""
    print(json.dumps(ServiceClient("gateway").request("GET", "/v1/admin/keys"), indent=2))
    return Exit.OK


@keys_app.command("revoke")
def revoke(key_id: str) -> int:
    """End a key."""
    print(json.dumps(ServiceClient("gateway").request("DELETE", f"/v1/admin/keys/{key_id}")))
    return Exit.OK


@switch_app.command("rung")
def rung(
    name: Annotated[str, typer.Argument(help="full, extractive, unavailable; or `auto` to unpin.")],
    reason: Annotated[str, typer.Option(help="For the audit trail.")],
    minutes: Annotated[int, typer.Option(min=1, help="The pin ends by itself after this time.")] = 60,
) -> int:
    """Pin a rung, with who, why and an expiry."""
    gateway = ServiceClient("gateway")
    if name == "auto":
        gateway.request("DELETE", "/v1/admin/rung")
        print(json.dumps({"rung": None}))
        return Exit.OK
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    body = {"rung": name, "reason": reason, "until": until.isoformat(timespec="seconds")}
    print(json.dumps(gateway.request("PUT", "/v1/admin/rung", body)))
    return Exit.OK
