"""JSON logs with request and job ids, without secrets."""

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

# `tokens_per_second` and `tokenizer` hold no secret; `access_token` and `AWS_SECRET_ACCESS_KEY` do.
_NAME_PATTERN = (
    r"[\w.-]{0,40}(?:authorization|pass(?:word|wd|phrase)|pwd|secret|token(?!s|iz)|crumb|cookie|(?:api|access|private)[-_]?key)"
    r"[\w.-]{0,40}"
)
_VALUE = r"""\\?"(?:[^"\\]|\\[^"])*\\?"|'[^'\n]*'|[^\s"',;&]+"""
_SECRET = re.compile(
    # name=value, "name": "value", --name value, Name: Scheme value
    rf"(?i)(?P<name>(?:--{_NAME_PATTERN}[\s=]|\b{_NAME_PATTERN}\\?[\"']?\s*[:=])\s*)"
    rf"(?:(?:bearer|basic|token|digest|negotiate)\s+)?(?:{_VALUE})"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<address>://)[^/\s@\"']+(?=@)"
    # Formats that need no name beside them: GitHub, GitLab, Slack, Hugging Face, OpenAI, AWS, JSON Web Tokens.
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|sk-)[A-Za-z0-9_-]{12,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
_NAME_OF_SECRET = re.compile(rf"(?i){_NAME_PATTERN}")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def mask_secrets(text: str) -> str:
    """Replace what looks like a credential in a log line by `****`."""
    return _SECRET.sub(lambda match: f"{match['name'] or match['scheme'] or match['address'] or ''}****", text)


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, str):
        return "****" if _NAME_OF_SECRET.fullmatch(name) else mask_secrets(value)
    if isinstance(value, dict):
        return {key: _masked(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, name) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else mask_secrets(str(value))


class JsonFormatter(logging.Formatter):
    """One JSON object a line; extra fields of the record are kept."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON, secrets masked."""
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": mask_secrets(record.getMessage()),
        }
        for name, context in (("request_id", request_id), ("job_id", job_id)):
            if value := context.get():
                entry[name] = value
        entry.update({key: _masked(value, key) for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info:
            entry["exception"] = mask_secrets(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send all logging of this process to standard error as JSON.

    Args:
        service: name in the `service` field.
        level: Python's level name.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What no line shows is not looked up for each: caller, thread and process.
    # Source: "Optimization" in Python's logging how-to.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("httpx").setLevel(logging.WARNING)
