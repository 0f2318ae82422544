"""What was written for a model rather than for a reader goes to a person first.

A document in quarantine is neither indexed nor learnt from. A person reads the list (`jeeves review`) and names the
hash of what may pass under `documents.released` in the recipe.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from jeeves_curator.documents.blocks import prose
from jeeves_curator.documents.steps import Unit, dropped
from jeeves_shared.contracts.curation import DocumentDrop

_OF_YOURS = r"(?:all\s+|any\s+|every\s+|of\s+|the\s+|your\s+|my\s+|these\s+|previous\s+|prior\s+|above\s+|preceding\s+|earlier\s+|existing\s+|system\s+|other\s+|safety\s+){1,5}"
_MODEL = r"(?:(?:AI|language|large\s+language)\s+(?:models?|assistants?|agents?|systems?)|LLMs?|chat\s?bots?|assistants?|GPT(?:-\d)?|copilots?|jeeves)"
INJECTIONS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("override", rf"\b(?:ignore|disregard|forget|override|bypass|discard)\s+{_OF_YOURS}(?:instructions?|prompts?|directives?|guidelines|context|conversation|messages|training)\b"),
        ("override", r"\b(?:ignore|disregard|forget)\s+(?:everything|anything|all)\s+(?:that\s+)?(?:above|before|you\s+(?:were|have\s+been)\s+told|said\s+(?:above|before))\b"),
        ("override", r"(?:忽略|无视|忘记|忘掉|不要理会)(?:之前|以上|上述|前面|先前|所有|一切|你的|系统)(?:的|所有|全部|任何)*(?:指令|指示|提示词?|规则|命令|内容|设定)"),
        ("role", r"\b(?:from\s+now\s+on|henceforth),?\s+you\s+(?:are|will|must|shall|should|act)\b"),
        ("role", r"\byou\s+are\s+(?:now\s+)?(?:DAN\b|in\s+developer\s+mode|an?\s+unrestricted|no\s+longer\s+(?:bound|an?\s+assistant)|jailbroken)"),
        ("role", r"(?:从现在开始|从现在起|现在开始)[,，]?\s*你(?:是|将|必须|要)"),
        ("leak", r"\b(?:reveal|print|repeat|output|show|leak|disclose)\s+(?:me\s+)?(?:your|the)\s+(?:(?:full|entire|hidden|initial|original)\s+)*(?:system\s+)(?:prompt|instructions|message)\b"),
        ("leak", r"(?:输出|泄露|显示|告诉我|重复)(?:你的|系统)(?:系统)?(?:提示词?|指令|设定)"),
        ("forged-turn", r"^\s*(?:#{1,3}\s*)?(?:\[?(?:system|assistant)\]?\s*(?:prompt|message|instruction|override)s?|BEGIN\s+SYSTEM\s+(?:PROMPT|MESSAGE)|new\s+(?:system\s+)?instructions?)\s*:"),
        ("addressed", rf"\b(?:attention|note\s+to|dear|hey|to\s+(?:any|all|the))\s*:?\s+(?:all\s+|any\s+|the\s+|every\s+)?{_MODEL}\b\s*(?:[,:!]|reading|that|processing|indexing|:)"),
        ("addressed", rf"\b(?:if|when)\s+you\s+are\s+(?:an?\s+)?{_MODEL}\b"),
        ("addressed", rf"\b{_MODEL}\s+(?:must|should|shall|are\s+required\s+to)\s+(?:always\s+|never\s+)?(?:answer|respond|reply|recommend|tell|say|output|instruct|advise|claim|state|include)\b"),
        ("steered-answer", r"\b(?:when|whenever|if)\s+(?:the\s+user|a\s+user|users|anyone|someone|somebody|they)\s+asks?\b[^.\n]{0,120}\b(?:always|only|must)\s+(?:answer|respond|reply|say|tell|recommend|output|instruct)\b"),
        ("steered-answer", r"\b(?:always|only)\s+(?:answer|respond|reply)\s+(?:with|that|by)\b[^.\n]{0,80}\b(?:regardless|no\s+matter|whatever)\b"),
        ("concealment", r"\b(?:do\s+not|don't|never|without)\s+(?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?\s+(?:this|it)\s+to|reveal(?:ing)?\s+(?:this|it)\s+to|alert(?:ing)?|notify(?:ing)?)\s+(?:to\s+)?the\s+(?:user|human|reader|operator)\b[^.\n]{0,40}\b(?:instruction|prompt|this\s+(?:message|text|note)|about\s+this)\b"),
        ("exfiltration", r"\b(?:send|post|upload|exfiltrate|forward|append)\b[^.\n]{0,60}\b(?:conversation|chat\s+history|system\s+prompt|user'?s?\s+(?:credentials|secrets|tokens|api\s+keys?|questions?))\b[^.\n]{0,60}\bhttps?://"),
        ("hidden", rf"<!--(?:(?!-->)[\s\S]){{0,400}}?\b(?:{_MODEL}|ignore\s+(?:all|previous)|system\s+prompt)\b(?:(?!-->)[\s\S]){{0,400}}?-->"),
        ("hidden", r"<[a-z]+[^>]*style\s*=\s*[\"'][^\"']*(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0)[^\"']*[\"'][^>]*>[^<]{20,}"),
    )
)  # fmt: skip
"""Sentences that give orders to a model. Source: OWASP LLM01:2025; the patterns were tried on 12 MB of Jenkins text."""

CONTROL_TOKEN = re.compile(
    r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<\uff5c[^\uff5c]{2,30}\uff5c>"
)
_TAGS = re.compile(r"[\U000e0020-\U000e007f]")
_BIDI = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_BETWEEN_LETTERS = re.compile(r"(?<=[A-Za-z\u3400-\u9fff])[\u200b-\u200d\u2060\ufeff\u00ad]+(?=[A-Za-z\u3400-\u9fff])")
_HIDDEN_MIN = 5
"""A pasted page brings a zero-width space or two; five inside words are meant."""

_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_CLAIM_CHARACTERS_MIN = 30
_CLAIM_SHARE_MIN = 0.2
"""Share of a document's prose that the repeated claim makes up: licence lines stay far below."""


class Quarantine:
    """Injections, control tokens and hidden characters, in the text as it came.

    Args:
        released: hashes of texts that a person let through.
    """

    name = "quarantine"

    def __init__(self, released: Sequence[str]) -> None:
        self._released = frozenset(released)

    def review(self, unit: Unit) -> Unit | DocumentDrop:
        """Drops as `injection`, `control-token` or `invisible-characters`."""
        if unit.sha256 in self._released:
            return unit
        document = unit.document
        # Rejected answers may stand beside the text, not in it.
        found = suspicion("\n".join((document.title, document.text, *(answer.text for answer in document.answers))))
        return dropped(self.name, unit.document, *found) if found else unit


def suspicion(text: str) -> tuple[str, str] | None:
    """Reason and detail if a text should be seen by a person first, else None.

    Args:
        text: as it came, before invisible characters are taken out.
    """
    if _TAGS.search(text):
        return "invisible-characters", "tag characters"
    if _BIDI.search(text):
        return "invisible-characters", "characters that turn the direction of writing"
    hidden = len(_BETWEEN_LETTERS.findall(text))
    if hidden >= _HIDDEN_MIN:
        return "invisible-characters", f"{hidden} inside words"
    if token := CONTROL_TOKEN.search(text):
        return "control-token", token.group().strip("<>[]|")
    seen = _BETWEEN_LETTERS.sub("", text) if hidden else text
    for name, pattern in INJECTIONS:
        if match := pattern.search(seen):
            return "injection", f"{name}: {' '.join(match.group().split())[:80]}"
    return None


class Floods:
    """One author who says one thing in many documents. Needs all documents.

    The author of a whole source is nobody in particular: only authors of some of its documents are looked at.

    Args:
        documents_min: from which it is a flood.
        released: hashes of texts that a person let through.
    """

    name = "floods"

    def __init__(self, documents_min: int, released: Sequence[str]) -> None:
        self._min = documents_min
        self._released = frozenset(released)

    def review_all(self, units: Sequence[Unit]) -> dict[str, DocumentDrop]:
        """Drops as `flood`, by path."""
        by_author: defaultdict[tuple[str, str], list[Unit]] = defaultdict(list)
        authors: defaultdict[str, set[str]] = defaultdict(set)
        for unit in units:
            source, author = unit.document.source_path.partition("/")[0], unit.document.provenance.author
            authors[source].add(author)
            by_author[source, author].append(unit)
        drops: dict[str, DocumentDrop] = {}
        for (source, author), written in sorted(by_author.items()):
            if author and len(authors[source]) > 1 and len(written) >= self._min:
                drops |= self._floods_of(author, written)
        return drops

    def _floods_of(self, author: str, written: Sequence[Unit]) -> dict[str, DocumentDrop]:
        claims = [_claims(unit.document.text) for unit in written]
        counted = Counter(claim for found in claims for claim in found)
        drops: dict[str, DocumentDrop] = {}
        for unit, found in zip(written, claims, strict=True):
            repeated = {claim: share for claim, share in found.items() if counted[claim] >= self._min}
            if sum(repeated.values()) >= _CLAIM_SHARE_MIN and unit.sha256 not in self._released:
                claim = max(repeated, key=lambda text: (counted[text], text))
                detail = f"{counted[claim]} documents of one author say: {claim[:80]}"
                drops[unit.document.source_path] = dropped(self.name, unit.document, "flood", detail)
        return drops


def _claims(text: str) -> dict[str, float]:
    """Sentences of a text, comparable, with their share of its prose."""
    sentences = [re.sub(r"\W+", " ", part.lower()).strip() for part in _SENTENCE_END.split(prose(text))]
    total = max(sum(map(len, sentences)), 1)
    return {sentence: len(sentence) / total for sentence in sentences if len(sentence) >= _CLAIM_CHARACTERS_MIN}
