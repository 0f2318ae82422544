"""A `Posts.xml` as Stack Exchange writes it: one row a line, sorted by Id, bodies of many forms, few of any one tag.

A row has some 1.9 KB, a question 1.4 answers.
"""

import random
from pathlib import Path
from xml.sax.saxutils import escape

_WORDS = [
    "the",
    "a",
    "pipeline",
    "stage",
    "agent",
    "of",
    "build",
    "job",
    "to",
    "is",
    "in",
    "node",
    "when",
    "I",
    "run",
    "my",
    "it",
    "with",
    "step",
    "this",
    "fails",
    "error",
    "on",
    "master",
    "how",
    "can",
    "plugin",
    "from",
    "for",
    "script",
    "that",
    "and",
    "branch",
    "file",
    "using",
    "get",
    "not",
    "docker",
    "container",
    "credentials",
    "do",
    "environment",
    "be",
    "variable",
    "but",
    "shell",
    "I'm",
    "Groovy",
    "workspace",
    "after",
    "before",
    "should",
    "would",
    '"quoted"',
    "<angle>",
    "R&D",
    "naïve",
    "流水线",
    "trigger",
]
_LANGUAGES = ("groovy", "java", "bash", "yaml", "xml", "")
_BODIES = 400
_ATTRIBUTE = {'"': "&quot;", "\n": "&#xA;"}


def write_dump(path: Path, size_bytes: int, *, wanted_share: float, tag: str = "jenkins", seed: int = 1) -> int:
    """Write a dump of about a size; the number of questions that have the tag.

    Args:
        path: of the file.
        size_bytes: at least.
        wanted_share: of the questions, in [0, 1].
        tag: that they have; the others have some of a hundred others.
        seed: of everything.
    """
    draw = random.Random(seed)
    questions = [escape(body(draw, 0.9), _ATTRIBUTE) for _ in range(_BODIES)]
    answers = [escape(body(draw, 0.6), _ATTRIBUTE) for _ in range(_BODIES)]
    wanted = number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write('\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n')
        written = 0
        while written < size_bytes:
            asked = number = number + 1
            has_tag = draw.random() < wanted_share
            wanted += has_tag
            replies = draw.choice((0, 1, 1, 1, 2, 2, 3))
            tags = [f"topic-{draw.randrange(100)}" for _ in range(draw.randint(1, 4))] + [tag] * has_tag
            draw.shuffle(tags)
            accepted = f'AcceptedAnswerId="{number + 1}" ' if replies and draw.random() < 0.5 else ""
            written += file.write(
                f'  <row Id="{asked}" PostTypeId="1" {accepted}CreationDate="2016-03-01T10:{number % 60:02d}:00.123" '
                f'Score="{draw.randrange(-3, 40)}" ViewCount="{draw.randrange(9999)}" Body="{draw.choice(questions)}" '
                f'OwnerUserId="{draw.randrange(10**6)}" LastEditDate="2019-03-01T10:00:00.000" '
                f'LastActivityDate="2020-03-01T10:00:00.000" Title="{escape(_sentence(draw, 9), _ATTRIBUTE)} ({asked})" '
                f'Tags="|{"|".join(tags)}|" AnswerCount="{replies}" CommentCount="2" ContentLicense="CC BY-SA 4.0" />\r\n'
            )
            for _ in range(replies):
                number += 1
                written += file.write(
                    f'  <row Id="{number}" PostTypeId="2" ParentId="{asked}" CreationDate="2017-03-01T10:00:00.123" '
                    f'Score="{draw.randrange(-3, 90)}" Body="{draw.choice(answers)}" OwnerUserId="{number % 10**6}" '
                    f'LastActivityDate="2018-03-01T10:00:00.000" CommentCount="1" ContentLicense="CC BY-SA 3.0" />\r\n'
                )
        file.write("</posts>\r\n")
    return wanted


def body(draw: random.Random, length: float) -> str:
    """HTML of a post, of the elements that the site's editor makes.

    Args:
        draw: decides.
        length: 1 is about 1,400 characters.
    """
    parts: list[str] = []
    for _ in range(max(round(draw.expovariate(1 / (5 * length))), 1)):
        kind = draw.choices(
            ("p", "pre", "list", "quote", "heading", "image", "rule", "table"), (60, 22, 8, 4, 3, 1, 1, 0.3)
        )
        parts.append(_BLOCKS[kind[0]](draw))
    return "\n\n".join(parts) + "\n"


def _sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words))


def _inline(draw: random.Random) -> str:
    text = [escape(_sentence(draw, draw.randint(5, 40)))]
    for _ in range(draw.randrange(3)):
        some = escape(_sentence(draw, 2))
        text.append(
            draw.choice(
                (
                    f"<code>{some}</code>",
                    f"<strong>{some}</strong>",
                    f"<em>{some}</em>",
                    f'<a href="https://www.jenkins.io/doc/?q={draw.randrange(99)}&amp;x" rel="nofollow noreferrer">{some}</a>',
                    "<br>\n",
                    f"<kbd>{some}</kbd>",
                )
            )
        )
        text.append(escape(_sentence(draw, draw.randint(3, 15))))
    return " ".join(text)


def _code(draw: random.Random) -> str:
    lines = [
        f"{'    ' * draw.randrange(4)}{_sentence(draw, 4)} = '{draw.randrange(999)}';"
        for _ in range(draw.randint(2, 25))
    ]
    language = draw.choice(_LANGUAGES)
    shown = f' class="lang-{language} prettyprint-override"' if language else ""
    return f"<pre{shown}><code>{escape(chr(10).join(lines))}\n</code></pre>"


def _items(draw: random.Random) -> str:
    kind = draw.choice(("ul", "ol"))
    items = [f"<li>{_inline(draw)}</li>" for _ in range(draw.randint(2, 5))]
    if draw.random() < 0.3:
        items.append(f"<li><p>{_inline(draw)}</p>\n\n{_code(draw)}</li>")
    return f"<{kind}>\n" + "\n".join(items) + f"\n</{kind}>"


def _table(draw: random.Random) -> str:
    rows = "\n".join(f"<tr>\n<td>{_sentence(draw, 2)}</td>\n<td>{draw.randrange(9)}</td>\n</tr>" for _ in range(3))
    return f"<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


_BLOCKS = {
    "p": lambda draw: f"<p>{_inline(draw)}</p>",
    "pre": _code,
    "list": _items,
    "quote": lambda draw: f"<blockquote>\n<p>{_inline(draw)}</p>\n</blockquote>",
    "heading": lambda draw: f"<h{(level := draw.randint(1, 3))}>{escape(_sentence(draw, 4))}</h{level}>",
    "image": lambda draw: (
        f'<p><a href="https://i.example/x.png"><img src="https://i.example/x.png" alt="{draw.randrange(9)}"></a></p>'
    ),
    "rule": lambda _: "<hr>",
    "table": _table,
}
