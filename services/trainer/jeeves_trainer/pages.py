"""Sections of text, tables and quotations, as Markdown and as HTML without scripts: for cards and reports."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

Table = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Of a page that is made here."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
    "blockquote{margin:.2rem 0 1rem;padding-left:.8rem;border-left:3px solid #8888;white-space:pre-wrap}"
)


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it, in this order; all of it is text, nothing is markup.

    Attributes:
        title: of the heading.
        lines: paragraphs.
        table: head and rows.
        items: of a list.
        quotes: names with texts that somebody else wrote.
        level: 2 for a section, 3 for one inside of it.
    """

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None
    items: tuple[str, ...] = ()
    quotes: tuple[tuple[str, str], ...] = ()
    level: int = 2


def markdown_of(sections: Sequence[Section]) -> list[str]:
    """Lines of Markdown."""
    lines: list[str] = []
    for section in sections:
        lines += [f"{'#' * section.level} {' '.join(section.title.split())}", ""]
        lines += [f"{line}\n" for line in section.lines]
        if section.table is not None:
            head, rows = section.table
            lines += [_row(head), f"|{'---|' * len(head)}", *(_row(row) for row in rows), ""]
        if section.items:
            lines += [*(f"- {item}" for item in section.items), ""]
        for name, text in section.quotes:
            lines += [f"**{name}**", "", *(f"> {line}" for line in text.splitlines() or [""]), ""]
    return lines


def html_of(sections: Sequence[Section]) -> list[str]:
    """Pieces of HTML; everything is escaped."""
    body: list[str] = []
    for section in sections:
        body.append(f"<h{section.level}>{html.escape(section.title)}</h{section.level}>")
        body += [f"<p>{html.escape(line)}</p>" for line in section.lines]
        if section.table is not None:
            head, rows = section.table
            body.append(f"<table><tr>{_cells(head, 'th')}</tr>")
            body += [f"<tr>{_cells(row, 'td')}</tr>" for row in rows]
            body.append("</table>")
        if section.items:
            body.append(f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in section.items)}</ul>")
        for name, text in section.quotes:
            body.append(f"<b>{html.escape(name)}</b><blockquote>{html.escape(text)}</blockquote>")
    return body


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: text.
        body: HTML.
    """
    escaped = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escaped}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{escaped}</h1>{''.join(body)}</body></html>"
    )


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _cells(cells: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
