"""Who we are at which address: a file in the form of git's credential store, one `https://user:secret@host` a line.

A secret goes to the origin that it was written for and to no other, whatever a recipe says.

Source: https://git-scm.com/docs/git-credential-store#_storage_format.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from jeeves_shared.errors import SettingsError


@dataclass(frozen=True)
class Credential:
    """A user and a secret. A line with one part only gives an empty user."""

    user: str
    secret: SecretStr

    def basic(self) -> str:
        """Value of an `Authorization` header."""
        text = f"{self.user}:{self.secret.get_secret_value()}"
        return "Basic " + base64.b64encode(text.encode()).decode()


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


class Credentials:
    """The lines of the file.

    Args:
        path: of the file; None: there are no credentials.

    Raises:
        SettingsError: the file cannot be read, or has a line of another form. The line itself is never repeated.
    """

    def __init__(self, path: Path | None) -> None:
        self._known: dict[str, Credential] = {}
        if path is None:
            return
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(f"JEEVES_COLLECTOR_CREDENTIALS_FILE: {path} cannot be read.") from exc
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                parts = urlsplit(line.strip())
                if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username:
                    raise SettingsError(
                        f"JEEVES_COLLECTOR_CREDENTIALS_FILE: line {number} of {path} is not https://user:secret@host."
                    )
                user, secret = (parts.username, parts.password) if parts.password else ("", parts.username)
                self._known[origin(line.strip())] = Credential(unquote(user), SecretStr(unquote(secret)))

    def of(self, url: str) -> Credential | None:
        """Who we are at an address."""
        return self._known.get(origin(url))
