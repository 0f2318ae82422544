"""The files of a folder: those that a recipe wants, inside the folder, in order."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from jeeves_shared.errors import SourceUnusable


@dataclass(frozen=True)
class Tree:
    """What a folder holds.

    Attributes:
        root: resolved.
        files: paths below the root that the recipe wants, sorted by their POSIX path.
        components: each `antora.yml`, resolved.
    """

    root: Path
    files: tuple[str, ...]
    components: tuple[Path, ...]


def walk(root: Path, include: Sequence[str], exclude: Sequence[str]) -> Tree:
    """List a folder. Hidden folders and `node_modules` are passed over; links to folders are not followed.

    Args:
        root: the folder.
        include: patterns of wanted files, as in `.gitignore`.
        exclude: patterns of unwanted files, likewise.

    Raises:
        SourceUnusable: not a folder that can be read.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise SourceUnusable(f"{root} {problem}: give a folder of AsciiDoc or Markdown files, or a git address.")
    wanted, unwanted = GitIgnoreSpec.from_lines(include), GitIgnoreSpec.from_lines(exclude)
    root = root.resolve()
    files: list[str] = []
    components: list[Path] = []

    def refuse(error: OSError) -> None:
        if Path(error.filename) == root:
            raise SourceUnusable(
                f"{root} cannot be read ({error.strerror}): give the user of the collector permission to read it."
            ) from error

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "node_modules")
        for name in names:
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if name == "antora.yml":
                components.append(path)
            if wanted.match_file(relative) and not unwanted.match_file(relative):
                files.append(relative)
    return Tree(root, tuple(sorted(files)), tuple(sorted(components)))
