"""Trees of files: layouts, addresses, titles, and everything that is left out."""

from pathlib import Path
from typing import Any

import pytest

from jeeves_collector.drops import Dropped
from jeeves_collector.encoding import decode, language_of
from jeeves_collector.markdown import scan_fences, split_front_matter
from jeeves_shared.errors import SourceUnusable

BODY = "\n\nA text that is long enough to be kept as a document.\n"


def tree(root: Path, **fields: Any) -> dict[str, Any]:
    return {"type": "tree", "name": "src", "location": str(root), **fields}


def antora(name: str, **fields: str) -> dict[str, str]:
    return {
        f"docs/{name}/antora.yml": f"name: {name}\ntitle: The {name}\nversion: ~\nnav:\n  - modules/pipe/nav.adoc\n"
        "asciidoc:\n  attributes:\n    product: Jenkins@\n",
        **{f"docs/{name}/modules/{path}": text for path, text in fields.items()},
    }


def test_antora_site_with_the_addresses_of_jenkins(collector: Any, write_tree: Any) -> None:
    files: dict[str, str] = {}
    for name in ("tutorials", "solutions"):
        files |= antora(name, **{"ROOT/pages/php.adoc": f"= PHP{BODY}"})
    files |= antora("dev-docs", **{"guides/pages/index.adoc": f"= Guides{BODY}"})
    files |= antora(
        "user-docs",
        **{
            "ROOT/pages/index.adoc": f"= Book{BODY}",
            "pipe/pages/index.adoc": f"= Pipeline{BODY}",
            "pipe/pages/syntax.adoc": (
                f"= Syntax of {{product}}{BODY}\ninclude::partial$one.adoc[]\n\n"
                "include::user-docs:pipe:partial$_two.adoc[]\n\n"
                "include::example$run.groovy[]\n\nxref:index.adoc[] xref:tutorials::php.adoc#x[] "
                "xref:dev-docs:guides:index.adoc[guide] xref:sub/deep.adoc[] xref:events:meet:index.adoc[meet]\n"
            ),
            "pipe/pages/sub/deep.adoc": f"= Deep{BODY}",
            "pipe/partials/one.adoc": "first partial\n",
            "pipe/pages/_partials/_two.adoc": "second partial\n",
            "pipe/examples/run.groovy": "echo 'hi'\n",
            "pipe/nav.adoc": ".xref:index.adoc[]\n* xref:syntax.adoc[]\n** xref:sub/deep.adoc[]\n",
        },
    )
    manifest = collector.collect(tree(write_tree(files), name="docs.jenkins.io"))
    documents = collector.documents(manifest)
    user = "docs.jenkins.io/docs/user-docs/modules"
    addresses = {path.removeprefix("docs.jenkins.io/docs/"): one.provenance.url for path, one in documents.items()}
    assert addresses == {
        "dev-docs/modules/guides/pages/index.adoc": "https://www.jenkins.io/doc/developer/guides/",
        "solutions/modules/ROOT/pages/php.adoc": "https://www.jenkins.io/solutions/php/",
        "tutorials/modules/ROOT/pages/php.adoc": "https://www.jenkins.io/doc/tutorials/php/",
        "user-docs/modules/ROOT/pages/index.adoc": "https://www.jenkins.io/doc/book/",
        "user-docs/modules/pipe/pages/index.adoc": "https://www.jenkins.io/doc/book/pipe/",
        "user-docs/modules/pipe/pages/sub/deep.adoc": "https://www.jenkins.io/doc/book/pipe/sub/deep/",
        "user-docs/modules/pipe/pages/syntax.adoc": "https://www.jenkins.io/doc/book/pipe/syntax/",
    }
    syntax = documents[f"{user}/pipe/pages/syntax.adoc"]
    assert syntax.title == "Syntax of Jenkins"
    assert syntax.section_path == ("The user-docs", "Pipeline")
    assert documents[f"{user}/pipe/pages/sub/deep.adoc"].section_path == (
        "The user-docs",
        "Pipeline",
        "Syntax of {product}",
    )
    for part in (
        "first partial",
        "second partial",
        "echo 'hi'",
        "[Pipeline](https://www.jenkins.io/doc/book/pipe/)",
        "[PHP](https://www.jenkins.io/doc/tutorials/php/#x)",
        "[guide](https://www.jenkins.io/doc/developer/guides/)",
        "[Deep](https://www.jenkins.io/doc/book/pipe/sub/deep/)",
        "[meet](https://www.jenkins.io/events/meet/)",
    ):
        assert part in syntax.text
    assert documents["docs.jenkins.io/docs/tutorials/modules/ROOT/pages/php.adoc"].kind == "how-to"
    assert manifest.drops == {"navigation": 1, "partial": 2}


def test_other_addresses(collector: Any, write_tree: Any) -> None:
    root = write_tree({**antora("handbook", **{"m/pages/p.adoc": f"= P{BODY}"}), "guide/x y.md": f"# X{BODY}"})
    urls = {
        path: document.provenance.url
        for path, document in collector.documents(
            collector.collect(tree(root, address="https://docs.example.org/base/"))
        ).items()
    }
    assert urls == {
        "src/docs/handbook/modules/m/pages/p.adoc": "https://docs.example.org/base/handbook/m/p.html",
        "src/guide/x y.md": "https://docs.example.org/base/guide/x%20y.md",
    }
    plain = collector.documents(collector.collect(tree(root, layout="plain", include=["**/p.adoc"])))
    assert plain["src/docs/handbook/modules/m/pages/p.adoc"].provenance.url == ""


def test_addresses_of_an_awestruct_site(collector: Any, write_tree: Any) -> None:
    files = {
        "Rakefile": "task :default\n",
        "content/index.adoc": f"---\nlayout: home\ntitle: Home\n---{BODY}",
        "content/doc/book/index.adoc": f"---\ntitle: Book\n---{BODY}",
        "content/doc/book/pipeline.adoc": f"= Pipeline{BODY}",
        "content/blog/2016/2016-01-07-code-of-conduct.adoc": f"= Conduct{BODY}",
        "content/blog/2017/02/2017-02-01-maven.md": f"# Maven{BODY}",
        "content/moved.adoc": f"---\ntitle: Moved\npermalink: /else/where/\n---{BODY}",
        "README.adoc": f"= How to build{BODY}",
    }
    documents = collector.documents(collector.collect(tree(write_tree(files), address="https://site.example.org/")))
    assert {path.removeprefix("src/"): one.provenance.url for path, one in documents.items()} == {
        "README.adoc": "",
        "content/blog/2016/2016-01-07-code-of-conduct.adoc": (
            "https://site.example.org/blog/2016/01/07/code-of-conduct/"
        ),
        "content/blog/2017/02/2017-02-01-maven.md": "https://site.example.org/blog/2017/02/01/maven/",
        "content/doc/book/index.adoc": "https://site.example.org/doc/book/",
        "content/doc/book/pipeline.adoc": "https://site.example.org/doc/book/pipeline/",
        "content/index.adoc": "https://site.example.org/",
        "content/moved.adoc": "https://site.example.org/else/where/",
    }


@pytest.mark.parametrize(("settings", "end"), [("title: Docs\n", ".html"), ("permalink: pretty\n", "/")])
def test_addresses_of_a_jekyll_site(collector: Any, write_tree: Any, settings: str, end: str) -> None:
    files = {
        "_config.yml": settings,
        "guide.md": f"# Guide{BODY}",
        "news/_posts/2024-03-09-release.md": f"---\ntitle: Release\n---{BODY}",
        "_drafts/later.md": f"# Later{BODY}",
    }
    documents = collector.documents(collector.collect(tree(write_tree(files), address="https://docs.example.org")))
    assert {path.removeprefix("src/"): one.provenance.url for path, one in documents.items()} == {
        "_drafts/later.md": "",
        "guide.md": f"https://docs.example.org/guide{end}",
        "news/_posts/2024-03-09-release.md": f"https://docs.example.org/news/2024/03/09/release{end}",
    }


def test_settings_of_a_site_that_cannot_be_read(collector: Any, write_tree: Any) -> None:
    with pytest.raises(SourceUnusable, match=r"_config\.yml"):
        collector.collect(tree(write_tree({"_config.yml": "a: [", "a.md": BODY}), address="https://docs.example.org"))


def test_markdown_is_kept_and_its_front_matter_read(collector: Any, write_tree: Any) -> None:
    text = f"# Heading\n\n```groovy\n---\n# not a heading\n```\n{BODY}"
    root = write_tree(
        {
            "guides/set-up/a.md": f"---\ntitle: From the front\nlayout: x\n---\n{text}",
            "guides/b.md": text,
            "no-title_here.md": BODY,
            "rule.md": f"---\nnot yaml: [\n---\n{text}",
            "jekyll.adoc": f"---\nlayout: doc\ntitle: Jekyll page\n---\n:page-x: y\n\n== Part{BODY}",
            "zh.md": "# 流水线\n\n在声明式流水线中使用 withCredentials 绑定凭据，并在 sh 步骤里使用单引号，"
            "这样密钥就不会出现在控制台日志中，也不会被写入构建记录。\n",
        }
    )
    manifest = collector.collect(tree(root, licence="MIT", author="Ada"))
    documents = collector.documents(manifest)
    first = documents["src/guides/set-up/a.md"]
    assert (first.title, first.text, first.section_path) == ("From the front", text, ("Guides", "Set up"))
    assert (first.provenance.licence, first.provenance.author, first.language) == ("MIT", "Ada", "en")
    titles = {path.removeprefix("src/"): document.title for path, document in documents.items()}
    assert titles["guides/b.md"] == "Heading"
    assert titles["no-title_here.md"] == "No title here"
    assert titles["jekyll.adoc"] == "Jekyll page"
    assert documents["src/jekyll.adoc"].text.startswith("# Jekyll page\n\n## Part\n")
    assert documents["src/rule.md"].text.startswith("---\nnot yaml")
    assert documents["src/zh.md"].language == "zh"
    assert manifest.code_blocks == 3


def test_html_is_read_where_it_is_asked_for(collector: Any, write_tree: Any) -> None:
    page = f"<h1>Help</h1><script>x()</script><p>{BODY}</p><pre><code class='language-groovy'>node {{ }}</code></pre>"
    root = write_tree({"help.html": page, "a.md": f"# A{BODY}"})
    assert set(collector.documents(collector.collect(tree(root)))) == {"src/a.md"}
    documents = collector.documents(collector.collect(tree(root, include=["**/*.html"])))
    assert documents["src/help.html"].title == "Help"
    assert "```groovy\nnode { }\n```" in documents["src/help.html"].text
    assert "x()" not in documents["src/help.html"].text


def test_every_drop_has_its_reason(collector: Any, write_tree: Any, tmp_path: Path) -> None:
    (tmp_path / "outside.md").write_text(BODY)
    root = write_tree(
        {
            "good.md": BODY,
            "empty.md": " \n",
            "stub.md": "# A title that is long enough in itself to be kept\n\nShort.\n",
            "stub.adoc": "= A title that is long enough in itself to be kept\n\nShort.\n",
            "binary.md": b"\x00\x01\x02",
            "encoding.md": b"\x81\x8d\x8f\xff" * 20,
            "_partials/a.md": BODY,
            "_b.md": BODY,
            "nav.adoc": BODY,
            "huge.md": b"x" * (8 * 1024 * 1024 + 1),
            ".git/c.md": BODY,
            "node_modules/c.md": BODY,
            "draft/c.md": BODY,
            "other.txt": BODY,
        }
    )
    (root / "link.md").symlink_to(tmp_path / "outside.md")
    (root / "dangling.md").symlink_to(root / "nothing.md")
    manifest = collector.collect(tree(root, exclude=["draft/"]))
    assert list(collector.documents(manifest)) == ["src/good.md"]
    assert manifest.drops == {
        "binary": 1,
        "empty": 1,
        "encoding": 1,
        "link-outside": 1,
        "navigation": 1,
        "partial": 2,
        "stub": 2,
        "too-large": 1,
        "unreadable": 1,
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "does not exist"),
        ({"a.txt": "x"}, r"no file that matches .*\.adoc"),
        ({"a.md": "x", "b.md": ""}, "no usable document; its 2 files were dropped: 1 empty, 1 stub"),
    ],
)
def test_an_unusable_source_says_so_in_one_message(
    collector: Any, write_tree: Any, tmp_path: Path, files: dict[str, str | bytes] | None, message: str
) -> None:
    root = write_tree(files) if files is not None else tmp_path / "gone"
    with pytest.raises(SourceUnusable, match=message):
        collector.collect(tree(root))


def test_a_file_is_no_folder(collector: Any, write_tree: Any) -> None:
    with pytest.raises(SourceUnusable, match="is not a folder"):
        collector.collect(tree(write_tree({"a.md": BODY}) / "a.md"))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("naïve".encode(), "naïve"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("wide 宽".encode("utf-16"), "wide 宽"),
        ("café au lait, déjà vu, and much more text".encode("cp1252"), "café au lait, déjà vu, and much more text"),
        ("流水线 pipeline 凭据".encode("gb18030"), "流水线 pipeline 凭据"),
        (b"a\r\nb\rc", "a\nb\nc"),
    ],
)
def test_encodings_are_repaired(data: bytes, text: str) -> None:
    assert decode(data) == text


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"text\x00", bytes(range(0x80, 0xFF)) * 4])
def test_encodings_that_cannot_be_told_are_refused(data: bytes) -> None:
    with pytest.raises(Dropped):
        decode(data)


def test_language() -> None:
    assert language_of("A pipeline") == "en"
    assert language_of("声明式流水线 pipeline") == "zh"


def test_fences_in_lists_and_quotes() -> None:
    text = "- ```sh\n  a\n    b\n  ```\n\n> ~~~\n> c\n>\n> d\n> ~~~\n\n````\n```\n````\n"
    assert scan_fences(text)[0] == ["a\n  b", "c\n\nd", "```"]


def test_front_matter_needs_to_be_a_mapping() -> None:
    assert split_front_matter("---\na paragraph\n---\ntext")[1] == "---\na paragraph\n---\ntext"
    assert split_front_matter("---\n---\ntext")[1] == "text"


def test_odd_yaml_is_text_and_navigation_stays_in_its_component(write_tree: Any, collector: Any) -> None:
    root = write_tree(
        {
            "c/antora.yml": "name: c\ntitle: C\nnav: [/etc/passwd, ../secret.adoc, modules/ROOT/nav.adoc]\n",
            "c/modules/ROOT/nav.adoc": "* xref:a.adoc[]\n",
            "c/modules/ROOT/pages/a.adoc": f"= A{BODY}",
            "secret.adoc": f"= Secret{BODY}\n* SECRET\n** xref:c::a.adoc[]\n",
            "date.md": f"---\ndate: 2026-13-45\n---\n# Date{BODY}",
            "deep.md": f"---\nx: {'[' * 8000}\n---\n# Deep{BODY}",
        }
    )
    documents = collector.documents(collector.collect(tree(root)))
    assert documents["src/c/modules/ROOT/pages/a.adoc"].section_path == ("C",)
    assert len(documents) == 4
