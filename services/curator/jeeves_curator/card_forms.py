"""The two forms of a card: Markdown with a Mermaid diagram, and one HTML file with its pictures inside.

Everything shown is data: cells and examples are escaped, nothing is loaded from anywhere.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Waterfall:
    """What was there, what each reason took away, what is left.

    Attributes:
        unit: of the figures: `documents`, `pairs`.
        entered: at the beginning.
        losses: step, reason and number, in order; zeros are left out.
    """

    unit: str
    entered: int
    losses: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Histogram:
    """Counts by bin.

    Attributes:
        bins: label and count, in order.
    """

    bins: tuple[tuple[str, int], ...]


Content = Table | Bullets | Waterfall | Histogram | str


@dataclass(frozen=True)
class CardSection:
    """A heading and what stands below it."""

    heading: str
    content: tuple[Content, ...]


def as_markdown(title: str, summary: str, sections: Sequence[CardSection]) -> str:
    """The card as Markdown."""
    lines = [f"# {title}", "", summary, ""]
    for section in sections:
        lines += [f"## {section.heading}", ""]
        for content in section.content:
            lines += [*_markdown(content), ""]
    return "\n".join(lines)


def as_html(title: str, summary: str, sections: Sequence[CardSection]) -> str:
    """The card as one HTML file without scripts."""
    body = [f"<h1>{_escaped(title)}</h1>", f"<p>{_escaped(summary)}</p>"]
    for section in sections:
        body.append(f"<section><h2>{_escaped(section.heading)}</h2>")
        body += [_html(content) for content in section.content]
        body.append("</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><title>{_escaped(title)}</title><style>{_STYLE}</style>'
        "</head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _markdown(content: Content) -> list[str]:
    match content:
        case Table(header, rows):
            body = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
            rule = f"|{'---|' * len(header)}"
            return [f"| {' | '.join(header)} |", rule, *(body or [f"| none |{' |' * (len(header) - 1)}"])]
        case Bullets(items):
            return [f"- {item}" for item in items] or ["None."]
        case Histogram(bins):
            return _markdown(Table(("from", "number"), bins))
        case Waterfall():
            return _sankey(content)
        case _:
            return [content]


def _sankey(flow: Waterfall) -> list[str]:
    """A Mermaid diagram, which GitHub and GitLab draw."""
    lines = ["```mermaid", "sankey-beta", ""]
    left, before = flow.entered, "collected"
    steps = list(dict.fromkeys(step for step, _, number in flow.losses if number))
    for step in steps:
        lines.append(f"{before},{step},{left}")
        for of, reason, number in flow.losses:
            if of == step and number:
                lines.append(f"{step},{reason} ({step}),{number}")
                left -= number
        before = step
    return [*lines, f"{before},kept,{left}", "```", "", f"{flow.entered} {flow.unit} came in, {left} stayed."]


def _html(content: Content) -> str:
    match content:
        case Table(header, rows):
            head = "".join(f"<th>{_escaped(name)}</th>" for name in header)
            body = "".join(f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
            return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_escaped(item)}</li>' for item in items)}</ul>" if items else "<p>None.</p>"
        case Histogram(bins):
            return _bars([(label, 0, count, str(count)) for label, count in bins], max((n for _, n in bins), default=1))
        case Waterfall(unit, entered, losses):
            bars = [("collected", 0, entered, f"{entered} {unit}")]
            left = entered
            for step, reason, number in losses:
                if number:
                    left -= number
                    bars.append((f"{step}: {reason}", left, number, f"-{number}"))
            return _bars([*bars, ("kept", 0, left, f"{left} {unit}")], entered)
        case _:
            return f"<p>{_escaped(content)}</p>"


def _bars(bars: Sequence[tuple[str, int, int, str]], whole: int) -> str:
    """Horizontal bars: label, offset, length, text."""
    row, label_width, width = 22, 230, 560
    parts = []
    for number, (label, offset, length, text) in enumerate(bars):
        top = number * row
        start = label_width + width * offset / max(whole, 1)
        size = max(width * length / max(whole, 1), 1.0)
        kind = "loss" if text.startswith("-") else "stay"
        parts.append(
            f'<text x="{label_width - 8}" y="{top + 15}" class="label">{_escaped(label)}</text>'
            f'<rect x="{start:.1f}" y="{top + 3}" width="{size:.1f}" height="{row - 6}" class="{kind}"/>'
            f'<text x="{start + size + 5:.1f}" y="{top + 15}">{_escaped(text)}</text>'
        )
    height, total = row * len(bars) + 4, label_width + width + 110
    return f'<svg viewBox="0 0 {total} {height}" width="{total}" role="img">{"".join(parts)}</svg>'


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _escaped(value: object) -> str:
    return html.escape(str(value).replace("**", "").replace("`", ""))


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left;"
    "vertical-align:top}svg{font-size:12px;max-width:100%}.label{text-anchor:end}.loss{fill:#b3423a}.stay{fill:#2f6f9f}"
    "li{margin:.2rem 0}h2{margin-top:2rem}"
)
