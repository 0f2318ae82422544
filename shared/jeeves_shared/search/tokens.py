"""The token stream of the search index: right for Jenkins identifiers, English and Chinese.

Text becomes tokens; each has a main term and, for compounds, the terms of its parts:

| text | term | parts |
|---|---|---|
| `withCredentials` | withcredentials | with, credenti |
| `-Dhudson.model.X=1` | -dhudson.model.x | hudson.model.x, hudson, model |
| `JENKINS_HOME` | jenkins_home | jenkin, home |
| `plug-ins` | plugin | plug, in |
| running | run | |
| 流水线 | 流水, 水线 (two tokens) | |

English words are stemmed (Snowball, Porter 2); everything is lower case.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

TERM_CHARACTERS_MAX = 80
"""Longer words (hashes, base64, generated names) are cut; nobody types them."""

_SURFACE_CHARACTERS_MAX = 200

# Function words, and the words that only frame a question. A term that names a Jenkins thing is never in here.
_STOP_WORDS = """
    a about above after again all also am an and any are aren as at be because been before being below between both
    but by can could couldn did didn do does doesn doing don down during e.g each else etc few for from further had has
    hasn have haven having he her here hers him his how i i.e if in into is isn it its itself just may me might more
    most must my myself no nor not now of off on once only or other our ours out over own please same shall she should
    shouldn so some such than that the their theirs them then there these they this those through to too under until up
    upon us very via was wasn we were weren what when where which while who whom whose why will with within won would
    wouldn you your yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    rf"(?P<han>[{_HAN}]+)|(?P<word>-{{0,2}}[^\W{_HAN}][^\W{_HAN}]*(?:[.\-/:$@]+[^\W{_HAN}]+)*)",
)
_CLITIC = re.compile(r"(?<=\w)['’](?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_VERSION = re.compile(r"v?\d+(?:[.\-]\w+)*")
_HYPHENATED = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)+")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2,}[a-z]{2,}")
_BACKTICKED = re.compile(r"`([^`\n]{1,80})`")
_CALL = re.compile(r"\b[A-Za-z_]\w*(?:\.\w+)*(?=\(\)|\s?\{\s?\})")

_stemmer = snowballstemmer.stemmer("english")


@dataclass(frozen=True)
class Token:
    """One token of a text.

    Attributes:
        term: what is looked up first.
        parts: terms of the parts of a compound; empty for a plain word.
        surface: as written.
    """

    term: str
    parts: tuple[str, ...]
    surface: str


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Stem of a lower-case English word; words with other characters come back as they are."""
    return str(_stemmer.stemWord(word)) if word.isascii() and word.isalpha() else word


def tokens(text: str) -> Iterator[Token]:
    """Tokens of a text, in order, with stop words."""
    for match in _TOKEN.finditer(_CLITIC.sub(" ", text)):
        if match.lastgroup == "han":
            run = match.group()
            # Bigrams: dictionary-free segmentation that searches Chinese well; a single character stands alone.
            for start in range(max(1, len(run) - 1)):
                yield Token(run[start : start + 2], (), run[start : start + 2])
        elif (token := _word(match.group()[:_SURFACE_CHARACTERS_MAX].rstrip("_"))) is not None:
            yield token


@lru_cache(maxsize=65536)
def _word(surface: str) -> Token | None:
    lower = surface.lower()
    if lower.isalnum() and not _CAMEL.search(surface):
        return Token(stem(lower[:TERM_CHARACTERS_MAX]), (), surface) if lower else None
    bare = lower.lstrip("-")
    if not bare:
        return None
    if _VERSION.fullmatch(bare):
        return Token(bare[:TERM_CHARACTERS_MAX], (), surface)
    system_property = surface.startswith("-D") and len(bare) > 1
    name = surface[2:] if system_property else surface.lstrip("-")
    parts = [stem(part.lower()) for part in _PART.findall(name) if len(part) > 1]
    if system_property:
        parts.insert(0, name.lower())
    if _HYPHENATED.fullmatch(surface):
        # "plug-in" and "plugin", "multi-branch" and "multibranch" are one word to those who search.
        return Token(stem(bare.replace("-", "")[:TERM_CHARACTERS_MAX]), tuple(dict.fromkeys(parts)), surface)
    parts = [part[:TERM_CHARACTERS_MAX] for part in parts]
    term = (lower if surface.startswith("-") else bare)[:TERM_CHARACTERS_MAX]
    return Token(term, tuple(dict.fromkeys(part for part in parts if part != term)), surface)


def content_tokens(text: str) -> list[Token]:
    """Tokens of a question without stop words; all of them when nothing else is left."""
    every = list(tokens(text))
    return [token for token in every if token.surface.lower() not in STOP_WORDS] or every


def identifiers(question: str) -> list[str]:
    """Words of a question that name something literally: code, not prose.

    Backticked text, `foo()` and `foo {}`, camelCase, dotted names, `-Dflags`, `--options`, snake_case and ALL_CAPS
    with an underscore. Plain capitals (LTS, SSH) are abbreviations and left out.

    Returns:
        As written, in order, without doubles.
    """
    found = [word.strip("`(){} ") for word in _BACKTICKED.findall(question)]
    found += _CALL.findall(question)
    for token in tokens(_BACKTICKED.sub(" ", question)):
        surface = token.surface
        dotted = "." in surface.strip(".") and not _VERSION.fullmatch(surface.lower())
        if surface.startswith("-") or "_" in surface or dotted or re.search(r"^[a-z]+[A-Z]", surface):
            found.append(surface)
    return [word for word in dict.fromkeys(found) if word and " " not in word and word.lower() not in STOP_WORDS]
