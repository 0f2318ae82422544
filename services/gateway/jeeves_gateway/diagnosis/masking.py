"""Takes secrets and personal data out of the lines of a log, and can put the harmless ones back.

Every value gets a placeholder such as `[SECRET-1]`, the same one wherever it occurs. The mapping lives as long as the
request. `restored` puts users, addresses and hosts back for the person who sent the log; secrets stay masked.
"""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

from jeeves_shared.contracts.diagnosis import MaskedValue

_VALUES_MAX = 2000
"""Secrets that are remembered of one log; a log with more repeats some."""
_SHORTEST_SECRET = 4

_VALUE = r"(?:\"(?P<dq>[^\"\n]{3,})\"|'(?P<sq>[^'\n]{3,})'|(?P<bare>[^\s'\"&,;)}\]]{3,}))"
_NAME = (
    r"[\w.-]*(?:passwor[dt]|passwd|passphrase|(?<![a-z])pwd|secret(?!s?[ _-]?(?:name|id|ref))|(?<!next)token(?!s|ize)|"
    r"api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key|auth[_-]?key|account[_-]?key|client[_-]?secret|"
    r"encryption[_-]?key|signing[_-]?key|sas[_-]?key|credential(?!s?[ _-]?id|s\b))[\w.-]*"
)
_SECRETS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (tuple(needles.split("|")), re.compile(pattern))
    for needles, pattern in (
        (
            "passw|passp|pwd|secret|token|key|cred",
            rf"(?i)(?P<name>{_NAME})[\"']?\s*(?:=>?|:(?!:))\s*(?:Bearer |Basic )?{_VALUE}",
        ),
        (
            "-pass|-token|-secret|-api|-auth",
            rf"(?i)(?:^|\s)--?(?:[a-z]+-)*(?:password|passwd|pass|token|secret|api-?key|auth)(?:=|\s+){_VALUE}",
        ),
        (
            "authorization|-key|-token|cookie",
            r"(?i)\b(?:authorization|proxy-authorization|x-api-key|x-auth-token|private-token|set-cookie|cookie)"
            r"\s*[:=]\s*(?:bearer|basic|token|digest)?\s*(?P<bare>[^\s'\"]{6,})",
        ),
        ("bearer |basic ", r"(?i)\b(?:bearer|basic)\s+(?P<bare>[A-Za-z0-9+/_.~=-]{12,})"),
        ("@", r"://[^\s/:@]*:(?P<bare>[^\s/@]+)@"),
        ("@", r"://(?P<bare>[A-Za-z0-9_-]{16,})@"),
        (
            " -p| -u ",
            r"(?:docker|podman|helm|az|oc|cf|mysql\w*|sshpass|curl)\b[^\n]*?\s(?:-p|-u \S+?:)\s?(?P<bare>[^\s-]\S{2,})",
        ),
        (
            "ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|glpat-|xox|npm_|pypi-|hf_|sk-|dckr_pat_|akia|asia|aiza|sg.|hvs.|sq0|"
            "atatt|k_live|k_test",
            r"\b(?P<bare>gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|"
            r"npm_[A-Za-z0-9]{20,}|pypi-[\w-]{20,}|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|dckr_pat_[\w-]{20,}|"
            r"AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|AIza[\w-]{30,}|SG\.[\w-]{16,}\.[\w-]{16,}|"
            r"hvs\.[\w-]{20,}|sq0[a-z]{3}-[\w-]{20,}|ATATT[\w=-]{20,}|[rs]k_(?:live|test)_\w{16,})",
        ),
        ("eyj", r"\b(?P<bare>eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"),
        (
            "sig=|signature=|credential=|token=|key=|code=",
            r"(?i)[?&;](?:sig|signature|x-amz-signature|x-amz-credential|access_token|key|code)=(?P<bare>[^&\s'\"]{6,})",
        ),
        ("11", r"\b(?P<bare>11[0-9a-f]{32})\b"),
    )
)
"""Words, lower case, one of which stands near every secret that the pattern finds: looking for them first is cheap."""
_NO_SECRET = re.compile(
    r"(?i)^(?:\*+|x{3,}|null|none|nil|true|false|undefined|empty|masked|hidden|redacted|required|missing|invalid|"
    r"not|is|was|has|for|from|and|the|you|will|with|to|of|in|on|expired|denied|failed|incorrect|wrong|found|"
    r"credentials?|password|token|secret|\$\{?[\w.]+\}?|%\w+%|<[^>]*>|\[[A-Z]+-\d+\]|\.{3,}|=+)[.,:;]?$"
)
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|CERTIFICATE)(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]*(?:PRIVATE KEY|CERTIFICATE)(?: BLOCK)?-----")

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_PERSONAL: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("email", re.compile(r"(?P<bare>\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,4}\b)")),
    ("user", re.compile(r"^(?:Started|Aborted|Approved|Rejected|Triggered|Requested) by (?:user )?(?P<bare>.+)$")),
    ("user", re.compile(r"^(?:Approved|Rejected|Aborted) by (?P<bare>.+)$")),
    ("user", re.compile(r"\b(?:Author|Committer|[A-Z][a-z-]+-by): (?P<bare>[^<\n]+?)\s*(?=<|\[|$)")),
    ("user", re.compile(r"(?i)(?:/home/|/Users/|[a-z]:\\Users\\|/export/home/)(?P<bare>[^/\\\s:;'\"]{2,})")),
    ("user", re.compile(r"(?i)\b(?:user(?:name)?|login)\s*[=:]\s*['\"]?(?P<bare>[\w.@-]{2,})")),
    ("user", re.compile(r"(?P<bare>\b[a-z_][\w.-]{1,30})@(?=[\w-]+(?:\.[\w-]+)*[:\s]|$)")),
    ("address", re.compile(rf"(?<![\w.])(?P<bare>(?:{_OCTET}\.){{3}}{_OCTET})(?![\w.]*\.\d)")),
    ("address", re.compile(r"(?i)(?<![\w:])(?P<bare>(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4})(?![\w:])")),
    ("phone", re.compile(r"(?<![\w.+-])(?P<bare>\+\d{1,3}[ -]?(?:\(\d+\)[ -]?)?\d{2,4}(?:[ -]\d{2,4}){2,4})(?![\w-])")),
)  # fmt: skip
_NOBODY = """
jenkins root git admin anonymous system timer scm upstream runner ubuntu vagrant ec2-user public shared default
jenkins-agent build builder agent 127.0.0.1 0.0.0.0 noreply change
"""
_NO_PERSON = frozenset(_NOBODY.split())
_NOT_A_PERSON = re.compile(r"(?i)^(?:an? |the |timer|scm |upstream |remote host|github push|gitlab|branch |anonymous)")


class Masker:
    """Masks the lines of one log.

    Every line is shown to `notice`, so that a secret is known wherever it stood; only the few lines that are used are
    masked.
    """

    def __init__(self) -> None:
        self._placeholders: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._in_key = False

    def notice(self, line: str) -> bool:
        """Learn the secrets of a line.

        Returns:
            Whether the line as a whole is part of a private key and must not be used.
        """
        if self._in_key:
            self._in_key = not _KEY_END.search(line)
            return True
        lowered = line.lower()
        if "-----begin" in lowered and _KEY_BEGIN.search(line):
            self._in_key = not _KEY_END.search(line)
            return True
        for value in secrets_in(line, lowered):
            self._learn(value)
        return False

    def masked(self, text: str) -> str:
        """A text without secrets and personal data.

        Args:
            text: one or more lines that `notice` has seen.
        """
        for value in sorted(self._placeholders, key=len, reverse=True):
            if self._kinds[value] == "secret":
                text = self._replaced(text, value)
        for kind, pattern in _PERSONAL:
            for match in list(pattern.finditer(text)):
                value = match.group("bare").strip()
                if value and value.lower() not in _NO_PERSON and not _NOT_A_PERSON.search(value) and "[" not in value:
                    self._name(value, kind)
        for value in sorted(self._placeholders, key=len, reverse=True):
            if self._kinds[value] != "secret":
                text = self._replaced(text, value)
        return text

    def restored(self, text: str) -> str:
        """A text with users, addresses and the like in place of their placeholders; secrets stay masked."""
        for value, placeholder in self._placeholders.items():
            if self._kinds[value] != "secret":
                text = text.replace(placeholder, value)
        return text

    def summary(self) -> tuple[MaskedValue, ...]:
        """What was masked, without the values."""
        return tuple(
            MaskedValue(placeholder=placeholder, kind=self._kinds[value], count=self._counts[value])
            for value, placeholder in self._placeholders.items()
            if self._counts[value]
        )

    def _learn(self, value: str) -> None:
        if len(self._placeholders) >= _VALUES_MAX or value in self._placeholders:
            return
        self._name(value, "secret")
        # Jenkins' own masking misses these forms of a secret.
        for form in (base64.b64encode(value.encode()).decode().rstrip("="), quote(value, safe="")):
            if form != value and len(form) > _SHORTEST_SECRET and form not in self._placeholders:
                self._alias(form, self._placeholders[value])

    def _name(self, value: str, kind: str) -> None:
        if value in self._placeholders:
            return
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        self._alias(value, f"[{kind.upper()}-{self._numbers[kind]}]", kind)

    def _alias(self, value: str, placeholder: str, kind: str = "secret") -> None:
        self._placeholders[value] = placeholder
        self._kinds[value] = kind
        self._counts[value] = 0

    def _replaced(self, text: str, value: str) -> str:
        if value not in text:
            return text
        # A word is replaced only where it stands alone: `test` is not taken out of `latest`.
        pattern = rf"(?<!\w){re.escape(value)}(?!\w)" if value.isalpha() else re.escape(value)
        text, count = re.subn(pattern, self._placeholders[value], text)
        self._counts[value] += count
        return text


def secrets_in(line: str, lowered: str) -> Iterable[str]:
    """The values in a line that look like secrets.

    Args:
        line: of a log.
        lowered: the same in lower case.
    """
    for pattern in [pattern for needles, pattern in _SECRETS for needle in needles if needle in lowered]:
        for match in pattern.finditer(line):
            found = match.groupdict()
            value = found.get("dq") or found.get("sq") or found.get("bare") or ""
            value = value.rstrip(".,;:")
            if len(value) >= _SHORTEST_SECRET and not _NO_SECRET.match(value) and not set(value) <= set("*.x-"):
                yield value
