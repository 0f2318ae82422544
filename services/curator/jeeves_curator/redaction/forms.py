"""Secrets that are known by their form, wherever they stand.

Vendors' forms come from the plugins of detect-secrets; what it lacks, and Jenkins' own, are written here. Each form has
an anchor: a string without which its pattern cannot match, so that most texts are passed over at the speed of `in`.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from jeeves_curator.redaction.examples import is_known_example, is_monotonous, is_placeholder, is_reference
from jeeves_curator.redaction.findings import Finding


@dataclass(frozen=True)
class Form:
    """A form of secret.

    Attributes:
        kind: of its findings.
        anchors: lower case; one of them must stand in the lower-cased text.
        pattern: the group `secret` is replaced, or the whole match.
        weak: also checked against placeholders, for what stands there may be a word.
    """

    kind: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    weak: bool = False


def _form(kind: str, anchors: str, pattern: str, weak: bool = False, flags: int = 0) -> Form:
    return Form(kind, tuple(anchors.split()), re.compile(pattern, flags), weak)


_PEM = r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?P<secret>(?:\\n|[\sA-Za-z0-9+/=:,.-]){40,}?)"

_OWN = (
    # Jenkins
    _form("jenkins-api-token", "11", r"(?<![0-9A-Za-z])11[0-9a-f]{32}(?![0-9A-Za-z])"),
    _form("jenkins-encrypted", "{aqaaa", r"\{AQAAA[A-Za-z0-9+/=\s]{12,}\}"),
    _form("jenkins-crumb", "crumb", r"(?i)crumb[\"']?\s*(?:[:=,]|\s)\s*[\"']?(?P<secret>[0-9a-f]{32,64})(?![0-9a-f])"),
    _form("session-cookie", "jsessionid", r"(?i)JSESSIONID[\w.]*\s*[=:]\s*(?P<secret>[\w.-]{12,})"),
    _form(
        "agent-secret", "secret", r"(?i)-secret[\s=]+[\"']?(?P<secret>[0-9a-f]{40,64})(?![0-9a-f])"
    ),
    _form("initial-password", "password", r"(?im)password[^\n]{0,120}:?\s*\n\s*(?P<secret>[0-9a-f]{32})\s*$"),
    _form(
        "xml-secret",
        "</",
        r"(?i)<(?P<tag>[\w.:-]*(?:password|passphrase|secret(?:bytes|key|access)?|apitoken|token|privatekey|"
        r"private-key|apikey|clientsecret|passwordhash|seed|credentials?))>\s*(?P<secret>[^<>\s][^<>]{3,}?)\s*</(?P=tag)>",
        weak=True,
    ),
    _form("password-hash", "#jbcrypt: $2a$ $2b$ $2y$ pbkdf2", r"(?:#jbcrypt:)?\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"),
    _form("password-hash", "pbkdf2", r"\$HMACSHA\d+:\d+:[0-9a-f]{32}\$[0-9a-f]{64,128}"),
    # Keys
    _form("private-key", "private key", _PEM + r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    _form("private-key", "private key", _PEM + r"(?=\n\s*\n|\Z)"),
    _form("private-key", "putty-user-key", r"PuTTY-User-Key-File-\d:[\s\S]{0,400}?Private-Lines:\s*\d+\s+(?P<secret>[A-Za-z0-9+/=\s]{40,})"),
    _form("private-key", "age-secret", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    # Kubernetes, Docker, clouds
    _form("kubeconfig", "-data", r"(?i)client-(?:key|certificate)-data[\"']?\s*:\s*[\"']?(?P<secret>[A-Za-z0-9+/=]{40,})"),
    _form("docker-auth", "auth", r"(?i)\"auth\"\s*:\s*\"(?P<secret>[A-Za-z0-9+/=]{12,})\"", weak=True),
    _form("cloud-key", "akia asia abia acca agpa aida aroa aipa anpa anva", r"(?<![A-Z0-9])A(?:3T[A-Z0-9]|BIA|CCA|KIA|SIA)[0-9A-Z]{16}(?![A-Z0-9])"),
    _form("cloud-key", "aiza", r"AIza[0-9A-Za-z_-]{35}"),
    _form("cloud-key", "ya29.", r"ya29\.[0-9A-Za-z_-]{30,}"),
    _form("cloud-key", "gocspx", r"GOCSPX-[0-9A-Za-z_-]{28}"),
    _form("cloud-key", "sig=", r"[?&]sig=(?P<secret>[A-Za-z0-9%+/=]{40,})"),
    _form("cloud-key", "accountkey sharedaccesskey", r"(?:AccountKey|SharedAccessKey)=(?P<secret>[A-Za-z0-9+/]{40,}={0,2})"),
    _form("cloud-key", "~", r"(?<![\w~.-])[A-Za-z0-9_-]{3}8Q~[A-Za-z0-9_~.-]{34}(?![\w~.-])"),
    _form("cloud-key", "x-amz-", r"(?i)X-Amz-(?:Signature|Security-Token)=(?P<secret>[A-Za-z0-9%+/=]{32,})"),
    # Forges, registries, tools
    _form("forge-token", "gh", r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{50,255})"),
    _form("forge-token", "gl", r"(?<![A-Za-z0-9])gl(?:pat|dt|oas|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[A-Za-z0-9_.-]{20,}"),
    _form("forge-token", "atbb atatt atctt", r"(?<![A-Za-z0-9])(?:ATBB|ATATT3|ATCTT3)[A-Za-z0-9_=-]{24,}"),
    _form("registry-token", "npm_", r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}"),
    _form("registry-token", "_authtoken", r"_authToken\s*=\s*[\"']?(?P<secret>[A-Za-z0-9_+/=.-]{16,})"),
    _form("registry-token", "pypi-", r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    _form("registry-token", "dckr_", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    _form("registry-token", "oy2", r"(?<![a-z0-9])oy2[a-z0-9]{43}(?![a-z0-9])"),
    _form("registry-token", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    _form("tool-token", "sq", r"(?<![A-Za-z0-9])sq[upa]_[0-9a-f]{40}"),
    _form("tool-token", "hvs. hvb.", r"(?<![A-Za-z0-9])hv[sb]\.[A-Za-z0-9_-]{24,}"),
    _form("tool-token", "akc", r"(?<![A-Za-z0-9])AKCp[A-Za-z0-9]{10,}"),
    _form("tool-token", "cmvmd", r"(?<![A-Za-z0-9])cmVmd[A-Za-z0-9]{40,}"),
    _form("tool-token", "dop_v1 doo_v1 dor_v1", r"do[opr]_v1_[0-9a-f]{64}"),
    _form("tool-token", "dapi", r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}"),
    _form("tool-token", "glsa_ glc_", r"(?:glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|glc_[A-Za-z0-9+/=]{32,})"),
    _form("tool-token", "nrak- nral", r"NRA[KL]-?[A-Z0-9]{27,}"),
    _form("tool-token", "atlasv1", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}"),
    _form("tool-token", "lin_api", r"lin_api_[A-Za-z0-9]{40}"),
    _form("tool-token", "hf_", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}"),
    _form("tool-token", "sk-", r"(?<![A-Za-z0-9])sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{32,}"),
    _form("tool-token", "xox xapp-", r"(?:xox[abeoprs]-[A-Za-z0-9-]{20,}|xapp-\d-[A-Za-z0-9-]{20,})"),
    _form("webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9_/]{20,})"),
    _form("webhook", "discord", r"discord(?:app)?\.com/api/webhooks/(?P<secret>\d+/[\w-]{40,})"),
    _form("webhook", "webhook.office.com", r"webhook\.office\.com/webhookb2/(?P<secret>[\w@/-]{60,})"),
    _form("payment-key", "_live_ _test_", r"(?<![A-Za-z0-9])(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{16,}"),
    _form("payment-key", "shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _form("mail-key", "sg.", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    _form("mail-key", "key-", r"(?<![\w-])key-[0-9a-f]{32}(?![\w])"),
    _form("jwt", "eyj", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{10,}"),
    # Addresses and headers with a password in them
    _form("url-password", "://", r"[a-z][a-z0-9+.-]*://[^\s/:@\"'<>]*:(?P<secret>[^\s/:@\"'<>\\]{3,})@[\w\[$-]", weak=True),
    _form("url-token", "://", r"https?://(?P<secret>[0-9a-f]{32,64}|[A-Za-z0-9_]{36,})@[\w-]"),
    _form("authorization", "bearer", r"(?i)\bbearer[\s:\"']+(?P<secret>[A-Za-z0-9._~+/-]{16,}=*)", weak=True),
    _form("authorization", "basic", r"(?i)(?:authorization[\"']?\s*[:=]\s*[\"']?|[\"'\s])basic\s+(?P<secret>[A-Za-z0-9+/]{12,}={0,2})(?![A-Za-z0-9+/])", weak=True),
)  # fmt: skip

_VENDORS = {
    # Plugin of detect-secrets, anchors, kind. Its entropy and keyword plugins are not used: on the handbook they find
    # hundreds of commit ids and variable names (docs/curator.md); `assignments` does their work.
    "aws:AWSKeyDetector": ("aws", "cloud-key"),
    "azure_storage_key:AzureStorageKeyDetector": ("accountkey", "cloud-key"),
    "cloudant:CloudantDetector": ("cloudant", "cloud-key"),
    "discord:DiscordBotTokenDetector": (".", "tool-token"),
    "gitlab_token:GitLabTokenDetector": ("gl", "forge-token"),
    "ibm_cloud_iam:IbmCloudIamDetector": ("ibm iam bluemix", "cloud-key"),
    "ibm_cos_hmac:IbmCosHmacDetector": ("cos ibm", "cloud-key"),
    "mailchimp:MailchimpDetector": ("-us", "mail-key"),
    "npm:NpmDetector": ("_authtoken", "registry-token"),
    "openai:OpenAIDetector": ("t3blbkfj", "tool-token"),
    "pypi_token:PypiTokenDetector": ("pypi-", "registry-token"),
    "sendgrid:SendGridDetector": ("sg.", "mail-key"),
    "slack:SlackDetector": ("xox hooks.slack", "tool-token"),
    "softlayer:SoftlayerDetector": ("softlayer sl_", "cloud-key"),
    "square_oauth:SquareOAuthDetector": ("sq0csp", "payment-key"),
    "stripe:StripeDetector": ("_live_", "payment-key"),
    "telegram_token:TelegramBotTokenDetector": (":aa", "tool-token"),
    "twilio:TwilioKeyDetector": ("ac sk", "tool-token"),
}


@lru_cache(maxsize=1)
def known_forms() -> tuple[Form, ...]:
    """All forms: those of this module, then those of detect-secrets."""
    from importlib import import_module  # noqa: PLC0415 - 60 ms that only a job pays

    forms = list(_OWN)
    for name, (anchors, kind) in _VENDORS.items():
        module, _, plugin = name.partition(":")
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), plugin)
        forms += [Form(kind, tuple(anchors.split()), pattern, weak=True) for pattern in detector.denylist]
    return tuple(forms)


def find_forms(text: str) -> Iterator[Finding]:
    """Secrets of known forms in a text.

    Args:
        text: any.
    """
    lowered = text.lower()
    for form in known_forms():
        if not any(anchor in lowered for anchor in form.anchors):
            continue
        for match in form.pattern.finditer(text):
            start, end = _place(match)
            value = text[start:end]
            if is_known_example(value) or is_monotonous(value):
                continue
            if form.weak and (is_reference(value) or is_placeholder(value)):
                continue
            if form.kind == "authorization" and not _is_credential(value):
                continue
            yield Finding(start, end, form.kind)


def _is_credential(value: str) -> bool:
    """`Basic authentication` is prose; a credential has a digit, or is base64 of `name:password`."""
    if any(character.isdigit() for character in value):
        return True
    try:
        return b":" in base64.b64decode(value, validate=True)
    except binascii.Error:
        return False


def _place(match: re.Match[str]) -> tuple[int, int]:
    if "secret" in match.re.groupindex:
        return match.span("secret")
    # A plugin's pattern: its innermost filled group is the secret, as in the plugin's own analysis.
    for number in range(match.re.groups, 0, -1):
        if match.group(number) and len(match.group(number)) >= 16:
            return match.span(number)
    return match.span()
