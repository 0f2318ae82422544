"""The shipped starter pack, and real Jenkins documentation where it is at hand."""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from jeeves_collector.markdown import scan_fences
from jeeves_collector.tree import TreeReader
from jeeves_collector.walk import walk
from jeeves_shared.contracts.collections import CollectionReport
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.contracts.recipes import CollectRecipe, TreeSource

_DELIMITER = re.compile(r"^(?:-{4,}|\.{4,}|`{3,}[^`]*)$")
_SUBSTITUTED = re.compile(r"^\[.*subs\s*=.*(?:attributes|normal)")


def delimited_blocks(text: str) -> Iterator[str]:
    """Text of each delimited code block of AsciiDoc: written apart from the product's scanner, to check it.

    Blocks that ask for attributes to be replaced, and those that are filled by an include, are passed over.
    """
    lines = iter(text.split("\n"))
    attributes = ""
    for line in lines:
        stripped = line.rstrip()
        if re.fullmatch(r"/{4,}|\+{4,}", stripped):
            next((one for one in lines if one.rstrip() == stripped), None)
        elif _DELIMITER.match(stripped):
            closing = "```" if stripped.startswith("`") else stripped
            block: list[str] = []
            for inner in lines:
                if inner.rstrip() == closing:
                    break
                block.append(inner)
            if not _SUBSTITUTED.match(attributes) and "include::" not in "\n".join(block):
                yield "\n".join(block)
        if stripped.startswith("["):
            attributes = stripped
        elif stripped and not stripped.startswith("."):
            attributes = ""


def flat(text: str) -> str:
    """Without what a list or an admonition puts before each line, alike on both sides."""
    return "\n".join(re.sub(r"^[ \t>]+", "", line.rstrip()) for line in text.split("\n"))


def lost_code(documents: dict[str, Any], root: Path) -> tuple[int, list[str]]:
    checked, lost = 0, []
    for source_path, document in documents.items():
        if source_path.endswith(".adoc"):
            output = flat(document.text)
            for block in delimited_blocks((root / source_path.partition("/")[2]).read_text()):
                checked += 1
                if flat(block) not in output:
                    lost.append(f"{source_path}: {block[:80]!r}")
    return checked, lost


@pytest.fixture(scope="module")
def recipe(repository: Path) -> CollectRecipe:
    text = (repository / "training-jobs" / "collect" / "starter-pack.yaml").read_text()
    return CollectRecipe.model_validate(yaml.safe_load(text))


@pytest.fixture(scope="module")
def starter_pack(
    make_collector: Any, recipe: CollectRecipe, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, CollectionManifest]]:
    """The starter pack, collected once."""
    with make_collector(tmp_path_factory.mktemp("starter-pack")) as collector:
        sources = [
            source.model_copy(update={"location": str(repository / source.location)}).model_dump(mode="json")
            for source in recipe.sources
        ]
        yield collector, collector.collect(*sources)


def test_the_starter_pack(
    starter_pack: tuple[Any, CollectionManifest], recipe: CollectRecipe, repository: Path
) -> None:
    collector, manifest = starter_pack
    documents, pairs = collector.documents(manifest), collector.pairs(manifest)
    assert len(documents) >= 60
    assert set(manifest.drops) <= {"partial"}
    assert "unresolved" not in collector.log()
    assert "could not convert" not in collector.log()
    assert {pair.source_path for pair in pairs.values() if pair.kind != "refusal"} <= set(documents)
    tree = next(source for source in recipe.sources if isinstance(source, TreeSource))
    checked, lost = lost_code(documents, repository / tree.location)
    assert checked > 50
    assert lost == []


def test_sections_that_pairs_name_are_headings(starter_pack: tuple[Any, CollectionManifest]) -> None:
    collector, manifest = starter_pack
    headings = {
        path: {_plain(found) for found in re.findall(r"^#{1,6} (.+)$", document.text, re.MULTILINE)}
        for path, document in collector.documents(manifest).items()
    }
    pairs = [pair for pair in collector.pairs(manifest).values() if pair.section]
    assert pairs
    assert [(pair.id, pair.section) for pair in pairs if _plain(pair.section) not in headings[pair.source_path]] == []


def _plain(heading: str) -> str:
    return re.sub(r"[`*\\]", "", heading).strip()


PAGES_SHOWN = ("pipeline/pages/jenkinsfile", "using-jenkins/pages/using-credentials", "installing-jenkins/pages/docker")
"""Three pages that `-s` prints side by side with their source."""


def source_blocks(root: Path, relative: str, reader: TreeReader) -> list[str]:
    """Code of a document as it stands in the AsciiDoc, its includes resolved, before anything was converted."""
    body = reader.read(relative).body
    return [block.text for piece in body.pieces for block in piece.blocks] if not isinstance(body, str) else []


@pytest.mark.corpora
@pytest.mark.slow
def test_the_handbook_of_jenkins(collector: Any, corpora: Path) -> None:
    root = corpora / "docs.jenkins.io"
    source = {"type": "tree", "name": "docs.jenkins.io", "location": str(root)}
    pairs_file = corpora / "jenai" / "derived_dev_split.csv"
    pairs = {"type": "pairs", "name": "jenai", "location": str(pairs_file)}
    manifest = collector.collect(source, pairs)
    documents = collector.documents(manifest)
    dropped = sum(number for reason, number in manifest.drops.items() if not reason.startswith("include"))
    assert manifest.documents + dropped == 860
    assert manifest.documents > 700
    with pairs_file.open(newline="") as file:
        named = {row["source_path"] for row in csv.DictReader(file)}
    # Some pairs were written from partials; their text is in the pages that include them.
    assert {path for path in named if "/_partials/" not in path} <= set(documents)
    assert manifest.pairs == 410

    # Counted by another reader than the product's: delimited blocks of the files as they lie there.
    checked, lost = lost_code(documents, root)
    assert checked > 800
    assert lost == []
    # And every block that the product took out of the text, in order, with its text.
    reader = TreeReader(TreeSource(**source), walk(root, TreeSource(**source).include, ()))
    blocks = 0
    differing: list[str] = []
    for source_path, document in documents.items():
        before = source_blocks(root, source_path.partition("/")[2], reader)
        after = scan_fences(document.text)[0]
        blocks += len(before)
        if sorted(map(flat, before)) != sorted(map(flat, after)):
            differing.append(f"{source_path}: {len(before)} in the source, {len(after)} in the output")
    assert differing == []
    assert blocks == manifest.code_blocks

    text = documents["docs.jenkins.io/docs/user-docs/modules/pipeline/pages/syntax.adoc"]
    assert text.provenance.url == "https://www.jenkins.io/doc/book/pipeline/syntax/"
    assert text.title == "Pipeline syntax"
    assert "JEEVES" not in "".join(document.text for document in documents.values())
    path = collector.data_dir / "collector" / "reports" / f"{collector.last_job}.json"
    report = CollectionReport.model_validate_json(path.read_bytes())
    print(f"\n{manifest.documents} documents, {blocks} code blocks before, {manifest.code_blocks} after")
    for kind, names in report.findings.items():
        print(f"{kind}: {sum(names.values())} of {len(names)} names")
    for name in PAGES_SHOWN:
        show_side_by_side(documents, root, name)
    assert collector.collect(source, pairs) == manifest


def show_side_by_side(documents: dict[str, Any], root: Path, name: str, width: int = 78, lines: int = 40) -> None:
    source_path = next(path for path in documents if path.endswith(f"{name}.adoc"))
    left = (root / source_path.partition("/")[2]).read_text().split("\n")[:lines]
    right = documents[source_path].text.split("\n")[:lines]
    print(f"\n{source_path} → {documents[source_path].provenance.url}")
    for one, other in itertools.zip_longest(left, right, fillvalue=""):
        print(f"{one[:width]:<{width}} │ {other[:width]}")
