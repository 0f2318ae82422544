"""The same kind of thing has the same name everywhere, and no file grows out of hand."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

SERVICES = ("collector", "curator", "trainer", "gateway")
PACKAGES = (
    "shared/jeeves_shared",
    "shared/jeeves_cli",
    *(f"services/{name}/jeeves_{name}" for name in SERVICES),
)
LINES_MAX = 400
FUNCTION_LINES_MAX = 75
# These lists only shrink.
LONG_FILES: frozenset[str] = frozenset()
LONG_FUNCTIONS: frozenset[str] = frozenset()
# A service that says `utils` has not thought of a name.
VAGUE = re.compile(r"(?:^|_)(?:utils?|helpers?|managers?|misc)(?:_|$)|[a-z](?:Helper|Manager|Utils)$", re.IGNORECASE)
VAGUE_FUNCTIONS = frozenset({"process", "handle", "do", "execute"})


def sources(repository: Path) -> list[Path]:
    files = [path for package in PACKAGES for path in sorted((repository / package).rglob("*.py"))]
    assert len(files) > 50
    return files


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_files(service: str, repository: Path) -> None:
    folder = repository / "services" / service
    package = folder / f"jeeves_{service}"
    for path in (
        folder / "README.md",
        folder / "pyproject.toml",
        package / "py.typed",
        package / "app.py",
        package / "__main__.py",
    ):
        assert path.is_file(), path.relative_to(repository)
    assert list((folder / "tests").glob(f"test_{service}_*.py")), "no tests"
    assert len((folder / "README.md").read_text(encoding="utf-8")) > 1000, "a README that says little"


@pytest.mark.parametrize("folder", ["shared", *(f"services/{name}" for name in SERVICES)])
def test_every_package_says_the_same_about_itself(folder: str, repository: Path) -> None:
    project = tomllib.loads((repository / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == ("jeeves-shared" if folder == "shared" else f"jeeves-{Path(folder).name}")
    shared = tomllib.loads((repository / "shared" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for field in ("version", "license", "requires-python"):
        assert project[field] == shared[field], field
    assert project["license"] == "Apache-2.0"


@pytest.mark.parametrize("service", SERVICES)
def test_every_dependency_is_explained(service: str, repository: Path) -> None:
    folder = repository / "services" / service
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (folder / "README.md").read_text(encoding="utf-8").lower().replace("_", "-")
    extras = [item for extra in project.get("optional-dependencies", {}).values() for item in extra]
    names = {
        re.split(r"[\s\[<>=!~;]", item)[0].lower().replace("_", "-") for item in [*project["dependencies"], *extras]
    }
    assert {name for name in names - {"jeeves-shared"} if name not in readme} == set()


def test_files_are_short(repository: Path) -> None:
    long = {
        str(path.relative_to(repository))
        for path in sources(repository)
        if len(path.read_text(encoding="utf-8").splitlines()) > LINES_MAX
    }
    assert long - LONG_FILES == set(), "split it"
    assert LONG_FILES - long == set(), "take it off the list"


def test_functions_fit_on_a_screen(repository: Path) -> None:
    long = set()
    for path in sources(repository):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.add(f"{path.relative_to(repository)}:{node.name}")
    assert long - LONG_FUNCTIONS == set(), "split it"
    assert LONG_FUNCTIONS - long == set(), "take it off the list"


def test_names_say_something(repository: Path) -> None:
    vague = []
    for path in sources(repository):
        place = path.relative_to(repository)
        names = [
            node.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        vague += [f"{place}: {name}" for name in names if VAGUE.search(name) or name in VAGUE_FUNCTIONS]
        vague += [str(place)] if VAGUE.search(path.stem) else []
    assert vague == []


def test_test_files_have_names_of_their_own(repository: Path) -> None:
    """Otherwise a report does not say which package failed."""
    seen: dict[str, Path] = {}
    for root in ("shared/tests", "tests", *(f"services/{name}/tests" for name in SERVICES)):
        for path in (repository / root).rglob("test_*.py"):
            assert seen.setdefault(path.name, path) == path, f"{path} and {seen[path.name]}"


def test_nothing_is_unpickled(repository: Path) -> None:
    """Model weights are safetensors or GGUF; a pickle is a program."""
    forbidden = re.compile(r"\b(?:import|from) (?:pickle|cPickle|dill|joblib|shelve)\b|\btorch\.load\(")
    found = [path for path in sources(repository) if forbidden.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_no_folder_of_a_build_machine_is_named(repository: Path) -> None:
    folders = re.compile(r"(?<![\w.])/(?:work/(?:main|shared)|tmp/x|opt/wheels|root/\.)")
    found = [
        str(path.relative_to(repository))
        for pattern in (
            "*.py",
            "*.md",
            "*.toml",
            "*.yaml",
            "*.yml",
            "*.json",
            "*.sh",
            "Makefile",
            "Jenkinsfile",
            "*Dockerfile",
        )
        for path in repository.rglob(pattern)
        if not {".git", ".venv", "var", "node_modules"} & set(path.relative_to(repository).parts)
        and path != Path(__file__)
        and not path.relative_to(repository).parts[0].startswith(".venv")
        and folders.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []
