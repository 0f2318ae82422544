"""The two ways from HTML to Markdown agree: the small tree for plain posts, and BeautifulSoup for anything."""

import os
import random
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jeeves_collector.html import to_markdown
from jeeves_collector.plain_html import read_plain

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

from stackexchange_dump import body

BASE = "https://a.example/q/1"
BLOCKS = ["p", "ul", "ol", "li", "blockquote", "h1", "h3", "h6", "pre"]
INLINE = ["a", "b", "strong", "em", "i", "code", "kbd", "del", "s", "sub", "sup", "span"]
TEXTS = st.sampled_from(
    ["a", "b c", " ", "\n", "\n\n", "  ", " x", "y ", "\ny\n", "*", "_z_", "`", "``", "1. ", "&lt;i&gt;", "&amp;",
     "&nbsp;",
     "&quot;", "&#39;", "流水线", "a > b", "\t", "# h", "- ", "JEEVESHTML0X", "https://x.example/", "\r\n"]
)  # fmt: skip
LINKS = st.sampled_from(["/x", "https://x.example/", "javascript:x()", "", "a_b", "https://[", "?a=1&amp;b=2", " y "])


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    """Some HTML of the plain kind, nested in any way."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["text", "text", "void", "code", "inline", "block"]))
        if kind == "text" or depth == 0:
            parts.append(draw(TEXTS))
        elif kind == "void":
            image = f'<img src="{draw(LINKS)}" alt="{draw(st.sampled_from(["", "alt", "a_b"]))}">'
            parts.append(draw(st.sampled_from(["<br>", "<br />", "<br/>", "<hr>", image])))
        elif kind == "code":
            language = draw(st.sampled_from(["", ' class="lang-groovy prettyprint-override"', ' class="default"']))
            code = "".join(draw(st.lists(TEXTS, max_size=5)))
            parts.append(draw(st.sampled_from([f"<pre{language}><code>{code}</code></pre>", f"<pre>{code}</pre>"])))
        else:
            name = draw(st.sampled_from(INLINE if kind == "inline" else BLOCKS[:-1]))
            title = draw(st.sampled_from(["", ' title="t &quot;q&quot;"']))
            attributes = f' href="{draw(LINKS)}"{title}' if name == "a" else ' start="3"' if name == "ol" else ""
            parts.append(f"<{name}{attributes}>{draw(elements(depth - 1))}</{name}>")
    return "".join(parts)


def both(html: str) -> tuple[str, str]:
    # A comment is nothing that a plain post has, and nothing that a reader sees.
    assert read_plain(f"<!-- -->{html}") is None
    return to_markdown(html, BASE).markdown, to_markdown(f"<!-- -->{html}", BASE).markdown


@settings(max_examples=max(int(os.environ.get("JEEVES_FUZZ_EXAMPLES", "0")), 200), deadline=None)
@given(elements())
def test_both_ways_give_the_same(html: str) -> None:
    plain, full = both(html)
    assert plain == full


def test_posts_are_plain_and_give_the_same() -> None:
    draw = random.Random(5)
    posts = [body(draw, 0.8) for _ in range(150)]
    tables = sum("<table>" in post for post in posts)
    assert sum(read_plain(post) is None for post in posts) == tables < 30
    for post in posts:
        plain, full = both(post)
        assert plain == full


def test_what_has_more_than_one_reading_is_left_to_the_parser() -> None:
    for html in (
        "<p>a<p>b", "<b><i>a</b></i>", "<p>a</p></p>", "a & b", "a &copy; b", "a &ltb", "<p class=x>a</p>", "<P>a</P>",
        "<div>a</div>", "<p/>a", "a < b", "<!-- c -->", "<script>a</script>", "<br></br>", "<pre><b>a</b></pre>",
        "a\0b",
        "<b>" * 60 + "</b>" * 60,
    ):  # fmt: skip
        assert read_plain(html) is None, html
        assert "end" in to_markdown(f"{html}<p>end</p>").markdown
