"""What the documents promise exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import reference
import typer.main

from jeeves_cli.exits import Exit
from jeeves_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "services/*/README.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", CODE_BLOCK.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_relative_links_resolve(path: Path) -> None:
    broken = []
    for groups in LINK.findall(CODE_BLOCK.sub("", text_of(path))):
        target = groups[0] or groups[1]
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of(ROOT / "Makefile"), re.MULTILINE))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_make_targets_exist(path: Path) -> None:
    inside_code = re.findall(r"`([^`\n]+)`", text_of(path)) + CODE_BLOCK.findall(text_of(path))
    mentioned = {target for code in inside_code for target in re.findall(r"(?:^|[\s$])make ([a-z][a-z-]*)", code)}
    assert mentioned - make_targets() == set()


def commands() -> set[str]:
    """`up`, `keys`, `keys create`, … of the command line itself."""
    root = typer.main.get_command(app)
    found = set()
    for word, command in getattr(root, "commands").items():  # noqa: B009 - typer's groups are not click's for mypy
        found.add(word)
        found |= {f"{word} {inner}" for inner in getattr(command, "commands", {})}
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_commands_and_their_options_exist(path: Path) -> None:
    root = typer.main.get_command(app)
    wrong = []
    inside_code = re.findall(r"`([^`\n]+)`", text_of(path)) + CODE_BLOCK.findall(text_of(path))
    for code in inside_code:
        for line in re.findall(r"(?:^|[\s/(])(?:jeeves|run --rm cli) ([a-z]+[^\n`#|]*)", code):
            words = line.split()
            if words[0] not in commands():
                wrong.append(line)
                continue
            command = root.commands[words[0]]
            if hasattr(command, "commands") and len(words) > 1 and words[1] in command.commands:
                command = command.commands[words[1]]
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            wrong += [f"{line}: {word}" for word in words if word.startswith("--") and word not in options]
    assert wrong == []


@pytest.mark.parametrize("document", reference.TABLES)
def test_tables_are_those_of_the_code(document: str) -> None:
    """If this fails: python tests/architecture/reference.py"""
    text = text_of(ROOT / document)
    assert reference.with_table(text, reference.TABLES[document]()) == text


def test_every_setting_and_route_is_described() -> None:
    rows = [row for make in reference.TABLES.values() for row in make().splitlines() if row.startswith("| `")]
    assert [row for row in rows if row.rstrip("| ").endswith("`") or row.endswith("|  |")] == []


def test_exit_codes_are_documented() -> None:
    guide = text_of(ROOT / "docs" / "operators.md")
    for code in Exit:
        assert re.search(rf"^\| {code.value} \| \S", guide, re.MULTILINE), code


def python_sources() -> str:
    files = [
        path
        for part in ("shared", "services", "deploy")
        for path in (ROOT / part).rglob("*.py")
        if "tests" not in path.parts
    ]
    # Long messages are written as neighbouring literals.
    return re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(text_of(path) for path in files))


def test_messages_under_trouble_exist() -> None:
    """A message that was reworded is no longer found by who looks it up."""
    guide = text_of(ROOT / "docs" / "operators.md").partition("## Trouble")[2]
    messages = re.findall(r"^\| `([^`]+)` \|", guide, re.MULTILINE)
    assert len(messages) > 15
    sources = re.sub(r"\{[^{}]*\}", "…", re.sub(r"\{[^{}]*\}", "…", python_sources()))
    missing = []
    for message in messages:
        parts = [part.strip() for part in re.split(r"…|\b(?:8080|gateway|trainer|120|5)\b", message)]
        if not all(part in sources for part in parts if part):
            missing.append(message)
    assert missing == []


def test_every_alert_has_its_runbook() -> None:
    rules = text_of(ROOT / "deploy" / "prometheus" / "rules.yml")
    urls = re.findall(r"runbook_url: (\S+)", rules)
    assert len(urls) == len(re.findall(r"- alert:", rules)) > 0
    for url in urls:
        place, _, anchor = url.partition("#")
        assert anchor in anchors(ROOT / place), url


def shape(path: Path) -> dict[str, list[str]]:
    text = text_of(path)
    prose = re.sub(r"```mermaid.*?```|<!-- transcript -->.*?<!-- /transcript -->", "", text, flags=re.DOTALL)
    code = [re.sub(r"\s*#.*", "", line) for block in CODE_BLOCK.findall(prose) for line in block.splitlines()]
    return {
        "levels of headings": re.findall(r"^(#+) ", CODE_BLOCK.sub("", prose), re.MULTILINE),
        "commands": code,
        "links": [target for target, _ in LINK.findall(prose) if not target.startswith("README")],
        "figures": re.findall(r"^```mermaid", text, re.MULTILINE),
    }


def test_readme_says_the_same_in_both_languages() -> None:
    assert shape(ROOT / "README.md") == shape(ROOT / "README.zh.md")


def test_decisions_have_their_parts() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = text_of(path)
        assert text.startswith(f"# {path.name[:4]} · "), path.name
        for part in ("**Status:**", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{path.name}: {part}"
        assert len(text.splitlines()) <= 60, f"{path.name} is longer than a page"


def test_licence_is_whole() -> None:
    text = text_of(ROOT / "LICENSE")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_notice_names_what_is_bundled() -> None:
    notice = text_of(ROOT / "NOTICE").lower()
    for file in (ROOT / "services" / "gateway" / "jeeves_gateway" / "page" / "vendor").glob("*.js"):
        library, _, rest = file.name.partition("-")
        assert library in notice
        version = re.match(r"\d+\.\d+\.\d+", rest)
        assert version and version.group() in notice, file.name


def test_reference_can_be_written_anew() -> None:
    """The command that CONTRIBUTING names starts."""
    done = subprocess.run([sys.executable, "-c", "import reference"], cwd=Path(reference.__file__).parent, check=False)
    assert done.returncode == 0
