"""JSON logs with request and job ids, without secrets."""

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

_SECRET = re.compile(
    r"(?i)(\b(?:authorization|api[-_]?key|token|password|passwd|secret|crumb)\b[\"']?\s*[:=]\s*[\"']?(?:bearer\s+)?)"
    r"([^\s\"',;]{4,})|(\bbearer\s+)([A-Za-z0-9._~+/=-]{8,})|(://[^/\s:@]+:)([^@\s/]+)(?=@)"
)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def mask_secrets(text: str) -> str:
    """Replace what looks like a credential in a log line by `****`."""
    return _SECRET.sub(lambda match: f"{match.group(1) or match.group(3) or match.group(5)}****", text)


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
        entry.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info:
            entry["exception"] = mask_secrets(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send all logging of this process to standard error as JSON.

    Args:
        service: name in the `service` field.
        level: Python's level name.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # One line a request is written by our own middleware, with the request id.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx").setLevel(logging.WARNING)
