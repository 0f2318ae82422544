"""Personal data: e-mail addresses, names in logs, homes of people, addresses and names of machines in closed networks."""

import ipaddress
import re
from collections.abc import Iterator

from jeeves_curator.redaction.findings import Finding
from jeeves_shared.contracts.documents import DocumentKind

_EMAIL = re.compile(
    r"(?<![\w.+/@=-])[A-Za-z0-9][\w.+-]{0,63}@(?P<domain>(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![\w@-])(?!:[\w~./])"
)
_PUBLIC_DOMAIN = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost|local)$|(?:^|\.)example\.\w+$|googlegroups\.com$|jenkins(?:-ci)?\.(?:io|org)$"
    r"|^(?:my|your|some)[\w-]*\.|domain\.\w+$|company\.\w+$|corp\.com$|myhost|(?:^|\.)(?:acme|foo|bar|email)\.\w+$|^email\.address$"
    r"|cd\.foundation$|users\.noreply\.github\.com$|amazonaws\.com$|linuxfoundation\.org$|^mail\.com$|\.(?:groovy|sh|py|ya?ml|json|xml|java|md|adoc|txt|jar|html?|png|svg|jpe?g|git|js|css)$|^(?:github|gitlab|bitbucket)\.",
    re.IGNORECASE,
)  # fmt: skip
_ROLE = re.compile(
    r"^(?:no-?reply|do-?not-?reply|support|info|contact|security|help|admin|administrator|root|jenkins|user(?:name)?|team|"
    r"git|ec2-user|ubuntu|nobody|postmaster|webmaster|sales|press|events|meetups|conduct|foo|bar|me|you|your\w*|my\w*|"
    r"first\.?last|john\.?doe|jane\.?doe|someone|somebody|name|password|test|dev|devs|ci|bot|build|builds|group|list|[\w-]*(?:subscribe|testing|admins?|list|security|team))$",
    re.IGNORECASE,
)
_GENERIC_NAMES = re.compile(
    r"^(?:anonymous|admin\w*|jenkins\w*|system|timer|unknown|user\w*|root|scm|upstream|github\w*|hudson|nobody|remote|"
    r"null|the|a|an|your\w*|me|you|ci|bot|build\w*|test\w*|developer|alice|bob|foo|bar|name|username|nodejs|git\w*|linux\w*|"
    r"public|shared|default|all users|guest|ubuntu|debian|centos|vagrant|ec2-user|runner|circleci|travis|app|node|docker|"
    r"core|tomcat|maven|gradle|appuser|workspace|docs?|j|x+|\W+)$",
    re.IGNORECASE,
)
_PERSON = r"[A-Z\u00c0-\u024f\u3400-\u9fff][\w'’.-]{0,30}(?: (?:[A-Z][\w'’.-]{0,30}|van|von|de|der|la|di|da|bin)){0,3}"
_NAMES = (
    re.compile(r"^\s*(?:\[[^\]\n]*\] )?Started by (?:user|remote user) (?P<name>[^\n\[\]<>\x1b]{2,60}?)\s*$", re.MULTILINE),
    re.compile(rf"^\s*(?:\[[^\]\n]*\] )?(?:Author|Committer|Commit|Signed-off-by|Co-authored-by|Reviewed-by|Tested-by|Reported-by|Approved by|Triggered by|Aborted by|Rejected by|Requested by|Changes? by|Pushed by)\s*:?\s+(?P<name>{_PERSON})(?=\s*(?:<|\(|$))", re.MULTILINE),
    re.compile(r"^\s*(?:\[[^\]\n]*\] )?(?:Aborted|Approved|Rejected|Triggered|Requested|Replayed|Rebuilt) by (?P<name>[^\n\[\]<>\x1b]{2,60}?)\s*$", re.MULTILINE),
    re.compile(r"(?P<name>(?<=<fullName>)[^<]{2,60}(?=</fullName>)|(?<=<userName>)[^<]{2,60}(?=</userName>))"),
    re.compile(r"^\s*(?:GIT_(?:AUTHOR|COMMITTER)_NAME|CHANGE_AUTHOR(?:_DISPLAY_NAME)?|BUILD_USER(?:_ID)?)\s*=\s*(?P<name>[^\n]{2,60}?)\s*$", re.MULTILINE),
)  # fmt: skip
_HOME = re.compile(
    r"(?:(?<![\w.])/home/|/Users/|[A-Za-z]:[\\/]{1,2}Users[\\/]{1,2})(?P<name>[A-Za-z][\w.-]{1,31})(?=[\\/\s\"':,;)]|$)"
)
_INTERNAL_HOST = re.compile(
    r"(?<![\w.@/-])(?:[A-Za-z0-9](?:[\w-]{0,61}[A-Za-z0-9])?\.){1,5}(?:internal|intranet|corp|lan|intra|localdomain|home\.arpa)(?![\w-]|\.\w)"
)
_KNOWN_HOSTS = re.compile(
    r"^(?:host\.docker|gateway\.docker|metadata\.google|kubernetes\.docker)\.internal$|jenkins\.internal", re.I
)
_AGENT_LINE = re.compile(
    r"^\s*(?:\[[^\]\n]*\] )?(?:Running on|Building remotely on|Agent|Remote host|Connecting to|Connected to|ssh(?:ing)? (?:in)?to|Hostname:|HOSTNAME=|NODE_NAME=)\s+(?P<host>(?=[\w.-]*\d)[A-Za-z][\w-]{2,62}(?:\.[\w-]+)*)",
    re.MULTILINE,
)  # fmt: skip
_FQDN = re.compile(r"(?<=://)(?:[A-Za-z0-9-]{1,63}\.){2,6}(?:internal|intranet|corp|lan|local|intra)(?=[:/\s\"')]|$)")
_IPV4 = re.compile(r"(?<![\w.-])(?P<ip>(?:\d{1,3}\.){3}\d{1,3})(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?P<ip>(?:[0-9A-Fa-f]{1,4}:){4,7}(?::?[0-9A-Fa-f]{1,4}){1,3}|(?:[0-9A-Fa-f]{1,4}:){2,6}:(?:[0-9A-Fa-f]{1,4}:?){1,4})(?![\w:])")  # fmt: skip
_VERSION_BEFORE = re.compile(
    r"(?i)(?:version|release|plugin|v|core|jdk|java|upgrad\w+|to|from|since|until|>=?|<=?|[:@=-])\s*[`'\"(]?$"
)
_PHONE = re.compile(r"(?i)\b(?:phone|tel|mobile|call|fax)\b[.:]?\s*(?P<number>\+?\d[\d ()./-]{7,18}\d)")
_PUBLIC_RESOLVERS = frozenset(("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "255.255.255.255", "1.2.3.4"))

LOG_KINDS: frozenset[DocumentKind] = frozenset(("log", "question"))
"""Written from inside somebody's network; a handbook writes private addresses as examples."""


def find_personal(text: str, kind: DocumentKind) -> Iterator[Finding]:
    """Personal items in a text.

    Args:
        text: any.
        kind: of the document; logs and questions come from inside somebody's network.
    """
    if "@" in text:
        for match in _EMAIL.finditer(text):
            name = match.group().partition("@")[0]
            if not _PUBLIC_DOMAIN.search(match.group("domain")) and not _ROLE.match(name):
                yield _personal(match, 0, "email")
    for pattern in _NAMES:
        for match in pattern.finditer(text):
            if not _GENERIC_NAMES.match(match.group("name").strip(' \t"')):
                yield _personal(match, "name", "name")
    if "/home/" in text or "Users" in text:
        for match in _HOME.finditer(text):
            if not _GENERIC_NAMES.match(match.group("name")):
                yield _personal(match, "name", "name")
    yield from _machines(text, kind)
    for match in _PHONE.finditer(text):
        yield _personal(match, "number", "phone")


def _machines(text: str, kind: DocumentKind) -> Iterator[Finding]:
    inside = kind in LOG_KINDS
    for pattern in (_INTERNAL_HOST, _FQDN):
        for match in pattern.finditer(text):
            if not _KNOWN_HOSTS.search(match.group()) and not _PUBLIC_DOMAIN.search(match.group()):
                yield _personal(match, 0, "host")
    if inside:
        for match in _AGENT_LINE.finditer(text):
            yield _personal(match, "host", "host")
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _is_somebodys(match.group("ip"), text[max(0, match.start() - 16) : match.start()], inside):
                yield _personal(match, "ip", "ip-address")


def _is_somebodys(written: str, before: str, inside: bool) -> bool:
    """True for an address of a real machine: public ones, and private ones where the text comes from inside.

    Args:
        written: the address.
        before: the text before it: `version 2.1.0.9` is no address.
        inside: the text was written inside somebody's network.
    """
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    if written in _PUBLIC_RESOLVERS or address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    if address.is_global:
        if address.version == 6:
            return True
        return not _VERSION_BEFORE.search(before) and (inside or int(written.partition(".")[0]) >= 11)
    return inside and address.is_private and not written.endswith((".0", ".0.1"))


def _personal(match: re.Match[str], group: str | int, kind: str) -> Finding:
    start, end = match.span(group)
    return Finding(start, end, kind, "personal")
