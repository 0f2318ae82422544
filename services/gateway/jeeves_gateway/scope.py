"""What no documentation can answer: a question for a private value of somebody's installation.

"What is our admin password?" shares all its words with the handbook, so the search finds strong evidence for it; what
the evidence supports is how a password is set, not what it is.
"""

import re

from jeeves_gateway.evidence import Judgement, refusal_text
from jeeves_gateway.quoting import is_chinese
from jeeves_shared.contracts.prompts import REFUSAL

_VALUABLE = (
    r"(?:passwords?|passphrases?|passwd|pass ?codes?|pins?|(?:api|access|auth\w*|bearer|refresh)[ -]?tokens?|tokens?|"
    r"(?:api|ssh|private|access|signing|encryption|secret|master)[ -]?(?:ssh )?keys?|secrets?|credentials?|"
    r"connection strings?)"
)
_PERSONAL = (
    r"(?:salar(?:y|ies)|payrolls?|(?:phone|mobile|telephone) numbers?|home address(?:es)?|birthdays?|"
    r"e-?mail address(?:es)?)"
)
_PERSON = r"(?:colleague|employee|user|person|who|developer|administrator|our)"
_OURS = r"\b(?:my|our|your|his|her|their|\w+'s)\b"
_SAY = r"(?:(?:tell|give|show|send) (?:me|us)|print|reveal|read (?:me|out)|dump|leak|display|list)"
_ASK = rf"^\W*(?:please |now )?(?:what(?:'s| is| are| was| were)|which|{_SAY})\b"
_NAMED = r"(?:of|for) (?:the )?(?:user|account|credential|job|agent|server|node) [\w-]+\W*$"
_NOT_A_VALUE = re.compile(
    r"(?i)\b(?:how|where|why|when|can|could|should|may|must|does|do|difference|purpose|meaning|mean|used for|"
    r"example|initial|best practice|kinds?|types?|recommended|safest|syntax)\b"
)
_VALUE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # What is our admin password · what are the private SSH keys that our agents use
        rf"{_ASK}[^?.]*?{_OURS}[^?.]{{0,60}}?\b{_VALUABLE}\b",
        rf"{_ASK}[^?.]*?\b{_VALUABLE}\b[^?.]{{0,40}}?{_OURS}",
        rf"{_ASK} the {_VALUABLE} {_NAMED}",
        # Give me the API token of the user deploy · print the value of the credential nexus-deploy
        rf"^\W*(?:please |now )?{_SAY}\b[^?.]{{0,30}}?\b(?:the|all|every|any)\b[^?.]{{0,30}}?\b{_VALUABLE}\b",
        r"\b(?:value|content|plain ?text)s? of (?:the |our |my )?(?:credential|secret|token|password)s?\b[^?.]*\b\w+",
    )
)
_PERSONS_DATA = re.compile(rf"(?i){_ASK}(?=.*\b{_PERSONAL}\b)(?=.*\b(?:{_PERSON}|archived|file)\b)")
_PRIVATE_ZH = re.compile(
    r"(?:我们|我|你们|你|公司|团队|同事|用户).{0,16}(?:密码|口令|令牌|私钥|密钥|凭据的值|电话|手机号|工资|薪水|邮箱)"
    r".{0,6}(?:是什么|是多少|是啥|[?？]|$)|(?:告诉我|给我|打印|显示).{0,16}(?:密码|口令|令牌|私钥|凭据的值)"
)
_HOW_ZH = re.compile(r"怎么|怎样|如何|为什么|哪里|在哪|能否|可以")


def asks_for_private_data(question: str) -> bool:
    """Whether a question asks for the value of a secret, or for data of a person.

    Questions on how such things are made, kept or found are not meant.

    Source: all 6 of the category `private-data` of the starter pack's refusals, none of its 433 answerable questions.
    """
    if is_chinese(question):
        return bool(_PRIVATE_ZH.search(question)) and not _HOW_ZH.search(question)
    if _PERSONS_DATA.search(question):
        return True
    return not _NOT_A_VALUE.search(question) and any(pattern.search(question) for pattern in _VALUE)


def private_text(question: str, documents: int, sections: int) -> str:
    """The refusal.

    Args:
        question: its language is the answer's.
        documents: in the index.
        sections: in the index.
    """
    refusal = refusal_text(question, Judgement("weak-evidence"), documents, sections)
    if is_chinese(question):
        return f"{refusal}我只了解文档，不知道你们系统里的密码、令牌或个人数据。"
    note = "I know documentation only: no password, token or personal data of an installation."
    return refusal.replace(REFUSAL, f"{REFUSAL} {note}", 1)
