"""Reading recipes: YAML files that are validated before anything runs."""

import re
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.suite_files import with_suite_files
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.recipes import CollectRecipe, PairsSource, Source, TreeSource

R = TypeVar("R", bound=Contract)

_GIT_ADDRESS = re.compile(r"^(?:https?|ssh|git|file)://|^[\w.-]+@[\w.-]+:|\.git/?$")

_PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".bundle")
"""A tree in one file; the collector unpacks it."""


def load_recipe(recipe_type: type[R], path: Path) -> R:
    """Read and validate a recipe.

    Raises:
        CommandError: unreadable, not YAML, or with mistakes; every mistake is named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CommandError(f"Recipe {path} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise CommandError(f"Recipe {path} is not YAML: {exc}", Exit.USAGE) from exc
    try:
        return recipe_type.model_validate(with_suite_files(content, path.parent))
    except ValidationError as exc:
        mistakes = [
            f"  {'.'.join(str(part) for part in error['loc']) or 'recipe'}: {error['msg']}"
            for error in exc.errors(include_url=False)
        ]
        raise CommandError(
            f"Recipe {path} has {len(mistakes)} mistake(s):\n" + "\n".join(mistakes), Exit.USAGE
        ) from exc


def with_absolute_locations(recipe: CollectRecipe, base: Path) -> CollectRecipe:
    """The recipe with its relative folders resolved against `base`, since a service has another working folder."""
    sources = tuple(_with_absolute_location(source, base) for source in recipe.sources)
    return recipe.model_copy(update={"sources": sources})


def _with_absolute_location(source: Source, base: Path) -> Source:
    # Sources that speak HTTP have an address in the place of a location.
    location = getattr(source, "location", None)
    if location is None or _GIT_ADDRESS.search(location):
        return source
    return source.model_copy(update={"location": str((base / location).resolve())})


def recipe_for_source(location: str, pairs: str | None, refusals: Path | None, licence: str) -> CollectRecipe:
    """The recipe for somebody's own documents.

    Args:
        location: folder or git address.
        pairs: file of questions and answers about them, if there is one.
        refusals: questions that no Jenkins document answers, to teach the model to say so.
        licence: SPDX identifier of the documents.

    Raises:
        CommandError: the folder or file does not exist.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "-", Path(location.rstrip("/")).name.removesuffix(".git")) or "source"
    if not _GIT_ADDRESS.search(location):
        folder = Path(location)
        packed = folder.is_file() and folder.name.lower().endswith(_PACKED)
        if not folder.is_dir() and not packed:
            raise CommandError(
                f"SOURCE={location} is neither a folder nor a git address: give the folder that holds your "
                "AsciiDoc or Markdown files.",
                Exit.USAGE,
            )
        name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name) or "source"
        location = str(folder.resolve())
    sources: list[Source] = [TreeSource(name=name, location=location, licence=licence)]
    if pairs:
        file = Path(pairs)
        if not file.exists():
            raise CommandError(f"PAIRS={pairs} does not exist: give a CSV or JSONL file.", Exit.USAGE)
        sources.append(PairsSource(name=f"{name}-pairs", location=str(file.resolve())))
    if refusals is not None:
        sources.append(PairsSource(name="refusals", location=str(refusals.resolve()), licence="Apache-2.0"))
    return CollectRecipe(name=name, sources=tuple(sources))
