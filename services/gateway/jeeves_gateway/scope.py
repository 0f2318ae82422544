"""What no documentation can answer, told by the form of the question.

"What is our admin password?" shares all its words with the handbook, so the search finds strong evidence for it; what
the evidence supports is how a password is set, not what it is. So it is with the state of somebody's installation, with
orders, with what the future brings, and with what belongs to another product.
"""

import re
from typing import Literal

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

Outside = Literal["private-data", "own-installation", "order", "future", "harm", "other-product"]

_HOW = re.compile(r"(?i)\bhow (?:do|can|could|should|would|to|does)\b|\bwhat happens\b|\bwhere (?:do|can|is)\b")
_NOW = r"(?:right now|at the moment|currently|at present|today|last night|this morning|yesterday)"
_OUR = r"(?:our|my|this)"
_THING = r"(?:controllers?|jenkins|instance|servers?|agents?|queue|builds?|jobs?|pipelines?|executors?|nodes?|team)"
_ASKS = r"^\W*(?:how many|how much|which|what|who|is|are|does|did|has|have|why)\b"
_OWN = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # How many builds are in our queue right now · what is job web-shop building at the moment
        rf"{_ASKS}.*\b(?:{_OUR}\b[^?]*\b{_THING}|(?:job|build) \S+)\b[^?]*\b{_NOW}\W*$",
        # How many of our agents are offline · which plugins are installed on my Jenkins
        rf"^\W*(?:how many|how much|which of)\b.*\b{_OUR}\b.*\b{_THING}\b",
        rf"{_ASKS}.*\b(?:installed|running|configured|used|left) (?:on|in) {_OUR} {_THING}\W*$",
        # When was our controller last restarted · what did the last build of main change · who started build 77
        rf"^\W*when (?:was|were|did|is) {_OUR}\b.*\b{_THING}\b",
        r"^\W*(?:what|who|why|when|did|was|is)\b.*\b(?:(?:the )?la(?:st|test)|last night's|yesterday's) "
        r"(?:build|run) of \S",
        r"^\W*(?:who|is|was|did|has|why (?:is|did|was))\b(?: \w+)? (?:the )?(?:build|run|job) (?:#?\d+|number \d+)\b",
        # Who has admin rights on our Jenkins · what is the IP address of our controller
        rf"^\W*who\b.*\b{_OUR}\b.*\b{_THING}\b",
        rf"^\W*(?:what|which)(?:'s| is| are) (?:the )?(?:current |present )?"
        rf"(?:ip|host ?name|address|url|version|uptime|load|length|size|status|queue)\b[^?]*\b(?:of|on|in) {_OUR}\b",
    )
)
_ADVICE = re.compile(rf"{_HOW.pattern}|\b(?:should|can|may|could|must|need)\b")
_ORDER = re.compile(
    r"(?i)^\W*(?:please |now |jeeves,? )*(?:"
    r"(?:delete|remove|restart|rerun|re-run|stop|abort|cancel|disable|enable|approve|merge|deploy|trigger|start|run|"
    r"create|send|install|upgrade|update|add|give)"
    r"\b(?!.*\?\W*$).*\b(?:for me|now|immediately|right away|at once)\W*$"
    r"|(?:send|write|forward) (?:an? |the )?(?:e-?mail|mail|message|slack message)\b(?! step)"
    r"|(?:start|trigger|run|kick off|abort|stop) (?:an?|the) (?:new )?build of \S+(?! plugin)"
    r")"
)
_FUTURE = re.compile(
    r"(?i)\bshare price\b|\bwill\b[^?]*\b(?:next year|in (?:\w+ )?(?:19|20|21)\d\d|in (?:\w+) years)\b|"
    r"^\W*(?:when|on which date|in which (?:year|version)) will\b[^?]*"
    r"\b(?:removed|released|deprecated|dropped|discontinued|end)\b|"
    r"^\W*(?:which|what) (?:new )?features will\b|^\W*will my next\b|^\W*(?:who|which \w+) will win\b|"
    r"^\W*(?:what|which \w+) will (?:be|come) (?:in|with|after) the next\b|^\W*when will the next\b"
)
_HARM = re.compile(
    r"(?i)\b(?:write|make|create|build|send|craft|design)\b[^?]{0,30}"
    r"\b(?:phishing|malware|ransomware|keylogger|virus|botnet|bomb)\b|"
    r"\b(?:how (?:do|can|could|would|to)|help me)\b[^?]*\b(?:"
    r"without (?:being (?:noticed|detected|caught)|(?:permission|authori[sz]ation)(?=\W*$)|"
    r"(?:any(?:one|body)|them|the admins?) (?:knowing|noticing))|"
    r"mine (?:bit|mon|crypto)\w*|steal|crack|break into|(?:hide|plant|install) a back ?door|hack(?! around))\b|"
    r"\bexploits?\b[^?]{0,20}\b(?:lets? me|to (?:take over|attack|hack|get into))\b|"
    r"\btake over (?:an?|the|someone)\b[^?]*\bjenkins\b"
)
_OTHER_PRODUCT = re.compile(
    r"(?i)\b(?:gitlab[ -](?:ci|runners?|pipelines?)|github (?:actions?|workflows?)|circleci|travis ?ci|teamcity|bamboo|"
    r"azure (?:devops|pipelines|boards)|bitbucket pipelines?|tekton|drone(?: ci)?|buildkite|argo ?(?:cd|workflows?)|"
    r"concourse|spinnaker|appveyor|gocd|octopus deploy|(?:aws )?code(?:build|pipeline|deploy|fresh|ship)|bitrise|"
    r"dagger|semaphore ?ci|woodpecker|(?:google )?cloud build|flux ?cd)\b"
)
_OF_JENKINS = re.compile(r"(?i)jenkins|plugin|declarative|shared librar|multibranch|migrat|webhook|compar")
_FORMS: tuple[tuple[Outside, tuple[re.Pattern[str], ...], re.Pattern[str] | None], ...] = (
    ("harm", (_HARM,), None),
    ("other-product", (_OTHER_PRODUCT,), _OF_JENKINS),
    ("future", (_FUTURE,), None),
    ("order", (_ORDER,), _HOW),
    ("own-installation", _OWN, _ADVICE),
)
"""Reason, forms, and what a question that is answered after all has."""
_OWN_ZH = re.compile(r"(?:现在|目前|此刻|刚才|昨晚).{0,12}(?:我们|我)|(?:我们|我)的?.{0,12}(?:现在|目前|此刻|昨晚)")
_ORDER_ZH = re.compile(r"^请?(?:立即|马上)?(?:帮我|给我)(?:删除|重启|启动|停止|触发|部署|发送|安装)")


def outside(question: str) -> Outside | None:
    """Why no documentation of Jenkins can answer a question, whatever evidence the search finds; None if it may.

    Source: none of the 433 questions of the starter pack and of the 410 development questions is outside.
    """
    if asks_for_private_data(question):
        return "private-data"
    if is_chinese(question):
        own, order = bool(_OWN_ZH.search(question)) and not _HOW_ZH.search(question), bool(_ORDER_ZH.search(question))
        return "order" if order else "own-installation" if own else None
    for why, patterns, unless in _FORMS:
        if any(pattern.search(question) for pattern in patterns) and not (unless and unless.search(question)):
            return why
    return None


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


_NOTES: dict[Outside, tuple[str, str]] = {
    "private-data": (
        "I know documentation only: no password, token or personal data of an installation.",
        "我只了解文档，不知道你们系统里的密码、令牌或个人数据。",
    ),
    "own-installation": (
        "I know documentation only: not the state of your installation. `jeeves diagnose` reads a build's console log.",
        "我只了解文档，不知道你们系统的状态。`jeeves diagnose` 可以分析构建日志。",
    ),
    "order": (
        "I answer questions and do nothing on your installation: ask me how it is done.",
        "我只回答问题，不会在你们的系统上执行任何操作：可以问我怎么做。",
    ),
    "future": ("No documentation says what is to come.", "文档没有说明未来的事情。"),
    "harm": ("I do not help with that.", "我不能协助这件事。"),
    "other-product": (
        "That is a question about another product than Jenkins.",
        "这是关于其他产品的问题，不是 Jenkins。",
    ),
}


def outside_text(question: str, why: Outside, documents: int, sections: int) -> str:
    """The refusal.

    Args:
        question: its language is the answer's.
        why: from `outside`.
        documents: in the index.
        sections: in the index.
    """
    english, chinese = _NOTES[why]
    refusal = refusal_text(question, Judgement("weak-evidence"), documents, sections)
    if is_chinese(question):
        return f"{refusal}{chinese}"
    return refusal.replace(REFUSAL, f"{REFUSAL} {english}", 1)
