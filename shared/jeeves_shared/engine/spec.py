"""What engine to start, and the command line that says so.

Every switch was checked against `llama-server --help` of llama-cpp-python 0.3.36. Those that are
llama-server's defaults today are written out all the same where a change of default would leak
one conversation into another or open a door.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from jeeves_shared.errors import SettingsError
from jeeves_shared.settings import LOOPBACK_HOSTS

Pooling = Literal["mean", "cls", "last"]

LOG_WARNINGS = 2
"""llama-server's log level without the six lines that each request would add; prompts are never written."""

OMP_WAIT_POLICY = "passive"
"""Threads sleep at barriers, unless the gateway's own environment says otherwise.

Measured, 2 threads on 2 contended cores, SmolLM2-135M: spinning (libgomp's default) 4 to 22 tokens/s,
passive 53 to 96; 1 thread, which has no barriers, 88 to 149 in the same minutes.
"""

_INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_INHERITED_PREFIXES = ("OMP_", "GOMP_", "KMP_")


def new_api_key() -> str:
    """A fresh random key of 256 bits for one engine process."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine process.

    Attributes:
        gguf_path: the model file.
        alias: name that the engine gives the model in its answers; without a comma.
        log_path: file that gets what the engine writes; parent folders are made, a new start appends.
        slots: conversations at the same time, >= 1. Memory for all of them is taken at start.
        context_tokens_per_slot: prompt and answer together, >= 64.
        threads: compute threads, >= 1. On 2 virtual cores 1: with the other core busy, 2 threads fell
            from 59 to 28 tokens/s and 1 thread held 52.
        threads_batch: for prompts and for several slots at once, >= 1; None: as `threads`. Few and long steps, so
            all cores are worth it: a prompt took half the time on 2 idle cores, and no longer on 2 busy ones.
        copies_slots: what one slot has computed can be copied into another, through memory that has no name
            (`EngineProcess.copy_file`). Without effect with one slot.
        host: a loopback address.
        port: TCP port; 0 lets the system choose at start.
        api_key: bearer token that every endpoint but `/health` asks for; random unless given.
        embeddings: serve `/v1/embeddings`; a batch then holds a whole slot. A causal model still answers chats.
        pooling: of token vectors, for embeddings; None takes what the file says.
        log_level: 0 generic, 1 errors, 2 warnings, 3 information, 4 trace, 5 debug.

    Raises:
        SettingsError: with every value that is out of range.
    """

    gguf_path: Path
    alias: str
    log_path: Path
    slots: int = 1
    context_tokens_per_slot: int = 2048
    threads: int = 1
    threads_batch: int | None = None
    copies_slots: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    api_key: SecretStr = field(default_factory=lambda: SecretStr(new_api_key()))
    embeddings: bool = False
    pooling: Pooling | None = None
    log_level: int = LOG_WARNINGS

    def __post_init__(self) -> None:
        key = self.api_key.get_secret_value()
        mistakes = tuple(
            message
            for is_wrong, message in (
                (self.host not in LOOPBACK_HOSTS, f"host {self.host} is not a loopback address"),
                (not 0 <= self.port <= 65535, f"port {self.port} is not within 0 to 65535"),
                (not self.alias or "," in self.alias, f"alias {self.alias!r} is empty or has a comma"),
                (self.slots < 1, f"slots is {self.slots}, at least 1 is needed"),
                (self.context_tokens_per_slot < 64, f"context per slot is {self.context_tokens_per_slot}, below 64"),
                (self.threads < 1, f"threads is {self.threads}, at least 1 is needed"),
                (
                    self.threads_batch is not None and self.threads_batch < 1,
                    f"threads_batch is {self.threads_batch}, at least 1 is needed",
                ),
                (not 0 <= self.log_level <= 5, f"log level {self.log_level} is not within 0 to 5"),
                (not key.isascii() or not key or any(c in key for c in ' ,"\n\0'), "api key is empty or not plain"),
            )
            if is_wrong
        )
        if mistakes:
            raise SettingsError(f"the engine cannot be started like this: {'; '.join(mistakes)}", mistakes)

    def command_line(self, binary: Path, port: int) -> tuple[str, ...]:
        """Program and arguments. The key is not among them: any user of the machine can read those.

        Args:
            binary: llama-server.
            port: the TCP port to listen on, not 0.
        """
        arguments = [
            str(binary),
            *("--model", str(self.gguf_path), "--alias", self.alias),
            *("--host", self.host, "--port", str(port)),
            *("--threads", str(self.threads), "--threads-batch", str(self.threads_batch or self.threads)),
            # A fixed number of slots, each with its own part of the KV cache.
            *("--parallel", str(self.slots), "--ctx-size", str(self.slots * self.context_tokens_per_slot)),
            *("--no-kv-unified", "--no-context-shift", "--fit", "off"),
            # A slot keeps its own prompt; nothing is kept outside slots: an answer came from another
            # conversation's RAM cache (llama.cpp #27148, #27422). n-gram speculation pools leak as well.
            *("--cache-prompt", "--cache-ram", "0", "--no-cache-idle-slots", "--spec-type", "none"),
            # No doors: no slot dump, no page, no tools, no downloads, no other origin.
            *("--no-slots", "--no-ui", "--no-agent", "--no-mmproj", "--offline"),
            *("--cors-origins", "localhost", "--no-cors-credentials"),
            *("--metrics", "--jinja"),
            *("--log-colors", "off", "--log-timestamps", "--log-prefix", "--log-verbosity", str(self.log_level)),
        ]
        if self.copies_slots:
            # Files are named by number: those that the process was given open, and no folder of anybody's disk.
            arguments += ["--slot-save-path", "/proc/self/fd"]
        if self.embeddings:
            # An encoder sees a text whole or not at all: one physical batch holds a full slot.
            batch = str(self.context_tokens_per_slot)
            arguments += ["--embeddings", "--batch-size", batch, "--ubatch-size", batch]
            if self.pooling is not None:
                arguments += ["--pooling", self.pooling]
        return tuple(arguments)

    def environment(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """The engine's environment: a few inherited variables, OpenMP's wait policy and the key.

        The rest stays out, since `LLAMA_ARG_*` and `AIP_*` (Vertex AI) would change switches, and
        secrets of the gateway are none of the engine's business.

        Args:
            inherited: where to take variables from; None means this process's.
        """
        source = os.environ if inherited is None else inherited
        kept = {
            name: value
            for name, value in source.items()
            if name in _INHERITED_VARIABLES or name.startswith(_INHERITED_PREFIXES)
        }
        return {"OMP_WAIT_POLICY": OMP_WAIT_POLICY} | kept | {"LLAMA_API_KEY": self.api_key.get_secret_value()}
