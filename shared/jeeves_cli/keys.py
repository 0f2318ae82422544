"""`jeeves keys` and `jeeves switch`: the operator's side of the gateway."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from jeeves_cli.client import ServiceClient
from jeeves_cli.exits import Exit

keys_app = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")
switch_app = typer.Typer(no_args_is_help=True, help="Pin a rung of the degradation ladder, switch features off.")


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


@keys_app.command("limits")
def limits(
    key_id: str,
    requests_per_minute: Annotated[int | None, typer.Option(min=0)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=0)] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=0)] = None,
    concurrent: Annotated[int | None, typer.Option(min=0, help="Answers at the same time.")] = None,
    as_settings: Annotated[bool, typer.Option("--as-settings", help="Take the key's own limits away.")] = False,
) -> int:
    """Show a key's limits and what it used today; or change those that are given, 0 for none."""
    gateway, path = ServiceClient("gateway"), f"/v1/admin/keys/{key_id}/limits"
    given = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "concurrent": concurrent,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    if changed or as_settings:
        before = {} if as_settings else gateway.request("GET", path)["limits"]
        gateway.request("PUT", path, {**before, **changed})
    print(json.dumps(gateway.request("GET", path), indent=2))
    return Exit.OK


@keys_app.command("erase")
def erase(key_id: str) -> int:
    """Delete a key's conversations and feedback."""
    gateway = ServiceClient("gateway")
    print(json.dumps({"key": key_id, "erased": gateway.request("DELETE", f"/v1/admin/keys/{key_id}/data")}))
    return Exit.OK


@switch_app.command("list")
def list_switches() -> int:
    """Show the features that are off, with reason and expiry."""
    print(json.dumps(ServiceClient("gateway").request("GET", "/v1/admin/switches"), indent=2))
    return Exit.OK


@switch_app.command("off")
def off(
    feature: Annotated[
        str,
        typer.Argument(help="retrieval, generation, streaming, feedback, diagnose, embeddings, conversations."),
    ],
    reason: Annotated[str, typer.Option(help="For the audit trail, and for whom it refuses.")],
    minutes: Annotated[int, typer.Option(min=1, help="It comes back by itself after this time.")] = 60,
) -> int:
    """Switch a feature off, with who, why and an expiry."""
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    body = {"reason": reason, "until": until.isoformat(timespec="seconds")}
    print(json.dumps(ServiceClient("gateway").request("PUT", f"/v1/admin/switches/{feature}", body)))
    return Exit.OK


@switch_app.command("on")
def on(feature: str) -> int:
    """Switch a feature on again."""
    ServiceClient("gateway").request("DELETE", f"/v1/admin/switches/{feature}")
    print(json.dumps({feature: "on"}))
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
