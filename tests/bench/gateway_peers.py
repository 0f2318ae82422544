"""The servers that the gateway's bench measures: fetched into a cache folder, started, looked at, stopped.

LiteLLM comes from the package index into an environment of its own, nginx as Debian's package, unpacked and not
installed. `JEEVES_BENCH_CACHE` names another folder than `~/.cache/jeeves/bench`.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from load_client import ask_once

CACHE = Path(os.environ.get("JEEVES_BENCH_CACHE", str(Path.home() / ".cache" / "jeeves" / "bench")))
KEY = "sk-bench-0123456789abcdef0123456789abcdef0123456789abcdef"
HEADERS = f"Authorization: Bearer {KEY}\r\n"
CHAT = "/v1/chat/completions"
LITELLM = "litellm[proxy]==1.106.2"
READY_SECONDS_MAX = 180.0


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server under measurement, on the first core if there are two; whoever measures takes the others.

    Args:
        name: in the table.
        command: that starts it.
        port: where it then listens.
        body: of a chat request to it.
        environment: beside the bench's own.
    """

    def __init__(self, name: str, command: list[str], port: int, body: object, **environment: str) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.body = body
        self._log = CACHE / f"{name}.log"
        CACHE.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)

    def pin(self, cores: list[int]) -> None:
        """Run on these cores only."""
        for process in self._processes():
            process.cpu_affinity(cores)

    async def ready(self) -> None:
        """Wait until it answers.

        Raises:
            SystemExit: it does not.
        """
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if (await ask_once(self.url, "POST", CHAT, self.body, HEADERS)).status == 200:
                    return
            except (OSError, EOFError):
                pass
            await asyncio.sleep(0.3)
        raise SystemExit(f"{self.name} did not answer: see {self._log}")

    def memory_mib(self) -> float:
        """Resident, with children."""
        return sum(process.memory_info().rss for process in self._processes()) / 2**20

    def cpu_seconds(self) -> float:
        """Used so far, with children."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(60)

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]


def mock(port: int) -> Server:
    """The mock engine."""
    return Server("mock", [sys.executable, str(Path(__file__).parent / "mock_engine.py"), str(port)], port, {})


def jeeves(name: str, folder: Path, engine_url: str, body: object, **settings: str) -> Server:
    """A gateway with everything on: key check, limits, breaker, metrics, logging, lineage."""
    port = free_port()
    return Server(
        name,
        [sys.executable, "-m", "jeeves_gateway"],
        port,
        body,
        JEEVES_PORT=str(port),
        JEEVES_DATA_DIR=str(folder / name),
        JEEVES_ADMIN_KEY=KEY,
        JEEVES_GATEWAY_ENGINE_URL=engine_url,
        JEEVES_GATEWAY_RATE_LIMIT="1000000/second",
        JEEVES_LOG_LEVEL="INFO",
        **settings,
    )


def litellm(folder: Path, engine_url: str, body: object) -> Server:
    """LiteLLM's proxy, one worker."""
    home = CACHE / "litellm"
    program = home / "bin" / "litellm"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "-q", LITELLM], check=True)
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: mock\n    litellm_params:\n      model: openai/mock\n"
        f"      api_base: {engine_url}\n      api_key: none\n"
    )
    port = free_port()
    command = [str(program), "--config", str(config), "--port", str(port), "--num_workers", "1"]
    return Server("litellm", command, port, body, LITELLM_MASTER_KEY=KEY)


def nginx(folder: Path, engine_port: int, body: object) -> Server | None:
    """Nginx with `proxy_pass`, one worker; None where there is no Debian package of it."""
    program = shutil.which("nginx") or str(CACHE / "nginx" / "usr" / "sbin" / "nginx")
    if not Path(program).exists():
        download = CACHE / "nginx"
        download.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "nginx"], cwd=download, check=True, capture_output=True)
            for package in download.glob("nginx_*.deb"):
                subprocess.run(["dpkg", "-x", str(package), str(download)], check=True)
        except (OSError, subprocess.CalledProcessError) as exc:
            sys.stderr.write(f"no nginx: {exc}\n")
            return None
    port = free_port()
    config = folder / "nginx.conf"
    temporary = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy"))
    others = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in ("fastcgi", "uwsgi", "scgi"))
    config.write_text(
        f"daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n{temporary}\n{others}\n"
        f"  upstream engine {{ server 127.0.0.1:{engine_port}; keepalive 64; }}\n"
        f"  server {{\n    listen 127.0.0.1:{port};\n    keepalive_requests 1000000;\n    location / {{\n"
        '      proxy_pass http://engine;\n      proxy_http_version 1.1;\n      proxy_set_header Connection "";\n'
        "      proxy_buffering off;\n    }\n  }\n}\n"
    )
    return Server("nginx", [program, "-c", str(config), "-p", str(folder)], port, body)
