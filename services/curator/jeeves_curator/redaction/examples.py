"""What looks like a secret and is none: placeholders, variables, references, and the example keys of handbooks."""

import re
from hashlib import sha256

_WORDS = r"""
    example|sample|dummy|fake|placeholder|redacted|masked|hidden|removed|changeme|change[_-]?it|your|mysecret|my[_-]|some|
    test|demo|foo|bar|baz|todo|none|null|nil|true|false|undefined|string|value|default|secret|passw|passphrase|pwd|
    token|apikey|api[_-]key|credential|user|admin(?![0-9])|key(?:store)?|hash|here|anything|whatever|xxx|\*\*|\.\.\.|…|env
"""
_PLACEHOLDER = re.compile(re.sub(r"\s+", "", _WORDS), re.IGNORECASE)
"""A value that holds one of these words and little else says what should stand there."""

_REFERENCE = re.compile(
    r"[$%]\{?[A-Za-z_(]|\{\{|\$\(|^<|>$|^%\w+%$|^@|^file:|^env[.:]|^params\.|\w\(|\)$|^\[|^\.\.?/|^/(?:[\w.-]+/)+|^~/|^#\{"
    r"|^(?:https?|ssh)://|REDACTED_[A-Z_]+_\d+|^\w+(?:\.[A-Za-z_]\w*)+$|^\w+::|\\n$"
)
"""Variables, templates, calls, paths, addresses, members of objects: they name a secret, they are none."""

_RUNS = ("0123456789abcdef", "abcdefghijklmnopqrstuvwxyz", "9876543210", "1234567890")

KNOWN_EXAMPLES = frozenset(
    (
        # Example keys that vendors and the Jenkins handbook print. As sha256: no scanner stumbles over this file, and
        # nobody can mistake them for keys.
        "1a5d44a2dca19669d72edf4c4f1c27c4c1ca4b4408fbb17f6ce4ad452d78ddb3",  # AWS: access key id
        "78314b11be2e581549ac1c4f616563fad3fdf0c3b71678f6e2299182080e0598",  # AWS: secret access key
        "af01f231b455ffb33c464247239ffd63021b5600dda0c362129a52571fb279d3",  # handbook: command line, API token
        "3aae044fbe67fb7fae54939970e48f2bb1bb787c180d83db7cb190b4e8cbaa8a",  # handbook: Kubernetes, initial password
        "8eb59f6ab650096d07da1575a1690b17f5e5ce5a184b8ae3d6d180bff6965932",  # handbook: releasing a plugin, account
        "75c9ab75976ab8ac9e25bed421a5f571f639d09b8e69b6e31a195a0e27e1c835",  # handbook: releasing a plugin, repository
        "8d8ac0499e05ca3ca4489935825a35af948ded676929664f7f888dc955202e7f",  # handbook: nodes, agent secret
    )
)


def is_known_example(value: str) -> bool:
    """True for an example key that a vendor prints, and for those that say so themselves (`…EXAMPLE…`)."""
    return "EXAMPLE" in value.upper() or sha256(value.encode("utf-8")).hexdigest() in KNOWN_EXAMPLES


def is_monotonous(value: str) -> bool:
    """True for `0123456789abcdef…`, `AKIAXXXX…`, `0000-0000`: made up to fill a place.

    Args:
        value: a candidate of at least 12 characters; shorter ones are passwords that somebody may use.
    """
    letters = re.sub(r"[^0-9a-z]", "", value.lower())
    if len(letters) < 12:
        return False
    tail = letters[4:]
    if len(set(tail)) == 1 and tail[0] in "x01":
        return True
    covered = 0
    place = 0
    while place < len(letters):
        run = max((_run_length(letters, place, alphabet) for alphabet in _RUNS), default=1)
        covered += run if run >= 4 else 0
        place += max(run, 1)
    return covered >= 0.7 * len(letters)


def _run_length(letters: str, place: int, alphabet: str) -> int:
    start = alphabet.find(letters[place])
    if start < 0:
        return 1
    length = 1
    while (
        place + length < len(letters)
        and start + length < len(alphabet)
        and letters[place + length] == alphabet[start + length]
    ):
        length += 1
    return length


def is_reference(value: str) -> bool:
    """True if the value is a variable, a template, a call, a path or a placeholder of this module."""
    return bool(_REFERENCE.search(value))


def is_placeholder(value: str) -> bool:
    """True if a value only says what belongs there: `my-secret-pw`, `<token>`, `********`, `changeme`."""
    bare = value.strip("\"'`,;.:()[]<>")
    if len(set(bare)) <= 2 or is_known_example(bare):
        return True
    without = _PLACEHOLDER.sub("", bare)
    digits = sum(character.isdigit() for character in without)
    return len(without) < len(bare) and (len(without) <= 5 or digits == 0) and digits <= 4
