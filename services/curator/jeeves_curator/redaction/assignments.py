"""Secrets that are known by what stands before them: `password=…`, `token: '…'`, `--password …`, `curl -u name:…`."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from jeeves_curator.redaction.examples import is_known_example, is_monotonous, is_placeholder, is_reference
from jeeves_curator.redaction.findings import Finding

_TELLING = (
    r"(?:passw(?:or)?d|passwd|passphrase|passcode|pwd|secret|token|api[._-]?key|access[._-]?key|auth[._-]?key|"
    r"account[._-]?key|private[._-]?key|signing[._-]?key|encryption[._-]?key|master[._-]?key|client[._-]?key|"
    r"storepass|keypass|bindpw|credential|密码|密钥|令牌|口令)"
)
# Begins at the telling word, not at the name that it ends: a name of any length before it would be tried at each letter.
_ASSIGNED = re.compile(
    rf"(?P<key>{_TELLING}[\w.-]{{0,24}})[\"'`\]]{{0,2}}"
    r"(?P<sign>[ \t]{0,3}(?:=>|:=|[=:：])[ \t]{0,3}|[ \t]{1,3}(?=[\"']))(?P<quote>[\"'`]?)"
    r"(?P<value>(?!&quot)[^\s\"'`<>,;]{5,200}|(?<=[\"'])[^\"'\n]{5,80}(?=[\"']))",
    re.IGNORECASE,
)
_OPTION = re.compile(
    rf"(?<![\w-])--?(?:[A-Za-z]+-){{0,3}}{_TELLING}(?:-value)?(?:\s+|=)[\"']?(?P<value>[^\s\"'`<>|;&-][^\s\"'`<>|;&]{{4,200}})",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"(?<![\w-])(?:-u|--user|--auth|-auth|--creds)[\s=]*[\"']?[\w.@\\-]{1,60}:(?P<value>[^\s\"'`<>|;&]{3,200})"
)
_SHORT_OPTION = re.compile(r"\b(?:mysql(?:dump|admin)?|sshpass|docker\s+login|az\s+login|psql|redis-cli)\b[^\n|;&]{0,80}?\s-[pa]\s?[\"']?(?P<value>[^\s\"'`<>|;&-][^\s\"'`<>|;&]{4,200})")  # fmt: skip
_NETRC = re.compile(r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(?P<value>\S{3,200})")
_SPOKEN = re.compile(
    r"(?i)\b(?:password|passphrase|token|secret|api key)\b[^.\n:=]{0,24}\b(?:is|was|to|as)[ \t]+[\"'`]?"
    r"(?!base64|sha\d|utf-?8)(?P<value>[^\s\"'`<>,;]*[0-9][^\s\"'`<>,;]*)"
)
_KEY_IS_NO_SECRET = re.compile(
    r"(?:ids?|names?|variables?|vars?|files?|paths?|urls?|uris?|types?|params?|parameters?|fields?|providers?|stores?|"
    r"length|enabled|policy|ref|refs|key_?ref|source|sources|scopes?|bindings?|masks?|masking|expiry|expiration|ttl|"
    r"description|help|label|hint|prompt|class|lists?|count|limit|manager|managers|size|version|mount|engine|usage|"
    r"endpoint|issuer|format|kind|lifetime|timeout|seconds|days|rotation|regex|pattern)$",
    re.IGNORECASE,
)
_CLASSES = (re.compile(r"[a-z]"), re.compile(r"[A-Z]"), re.compile(r"[0-9]"), re.compile(r"[^A-Za-z0-9]"))
_IDENTIFIER = re.compile(r"[A-Za-z_]+(?:[-_./][A-Za-z_]+)*\(?")
_ENTROPY_MIN_BITS = 2.3
"""Bits per character below which a value is a word. Source: tried on the handbook and on planted passwords."""


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters of a text, bits per character; 0 for an empty one."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values()) if value else 0.0


def find_assignments(text: str) -> Iterator[Finding]:
    """Secrets behind names that announce them.

    Args:
        text: any.
    """
    for match in _ASSIGNED.finditer(text):
        key = match.group("key")
        if _KEY_IS_NO_SECRET.search(key) or not _is_assignment(match):
            continue
        yield from _judged(text, match, "token" if re.search("token|key", key, re.IGNORECASE) else "password")
    for pattern, bold in ((_OPTION, False), (_LOGIN, True), (_SHORT_OPTION, False), (_NETRC, True), (_SPOKEN, False)):
        for match in pattern.finditer(text):
            yield from _judged(text, match, "password", bold)


def _is_assignment(match: re.Match[str]) -> bool:
    """`Password: the one that …` is prose, `password: the1one` is not."""
    if match.group("quote") or match.group("sign").strip() in ("=", ":=", "=>"):
        return True
    after = match.string[match.end() : match.end() + 2]
    return not re.match(r"[ \t]\S", after) or bool(re.search(r"\d", match.group("value")))


def _judged(text: str, match: re.Match[str], kind: str, bold: bool = False) -> Iterator[Finding]:
    start, end = match.span("value")
    value = text[start:end].rstrip(".,;:)]}\\")
    if value.startswith(("{AQAAA", "Bearer", "Basic ")):
        return  # A form of its own.
    if is_secret_value(value, bold):
        yield Finding(start, start + len(value), kind)


def is_secret_value(value: str, bold: bool = False) -> bool:
    """True if a value behind a telling name is a secret rather than a word, a placeholder or a reference.

    Args:
        value: without its quotes.
        bold: the place itself says that it is a password: a plain word is one too.
    """
    if len(value) < (3 if bold else 5) or is_reference(value) or is_placeholder(value) or is_known_example(value):
        return False
    if is_monotonous(value):
        return False
    if bold:
        return True
    if _IDENTIFIER.fullmatch(value):
        # Letters only: a variable or a word, unless it looks random.
        return len(value) >= 16 and "-" not in value and "_" not in value and _is_mixed(value)
    classes = sum(bool(pattern.search(value)) for pattern in _CLASSES)
    return classes >= 2 and entropy_bits(value) >= _ENTROPY_MIN_BITS and bool(re.search(r"\d|[!@#$%^&*?~]", value))


def _is_mixed(value: str) -> bool:
    """Upper and lower case change too often for a camelCase name."""
    changes = sum(left.islower() and right.isupper() for left, right in pairwise(value))
    return changes >= len(value) / 5
