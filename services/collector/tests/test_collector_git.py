"""Git sources on real repositories."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from jeeves_collector.git import fetch, is_git_address, without_secret
from jeeves_shared.errors import SourceUnusable

BODY = "\n\nA text that is long enough to be kept as a document.\n"


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def address(self) -> str:
        return f"file://{self.folder}"

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, **files: str | None) -> str:
        for name, text in files.items():
            path = self.folder / f"{name}.md"
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")


def runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_a_repository_is_collected_and_followed(collector: Any, repository: Repository) -> None:
    source = {"type": "tree", "name": "src", "location": repository.address}
    first_commit = repository.commit(a=f"# A{BODY}", b=f"# B{BODY}")
    first = collector.collect(source)
    assert first.source_revision == first_commit
    assert list(collector.documents(first)) == ["src/a.md", "src/b.md"]
    assert collector.collect(source).id == first.id

    second_commit = repository.commit(b=None, c=f"# C{BODY}")
    second = collector.collect(source)
    documents = collector.documents(second)
    assert second.source_revision == second_commit
    assert list(documents) == ["src/a.md", "src/c.md"]
    assert documents["src/a.md"] == collector.documents(first)["src/a.md"]
    assert documents["src/a.md"].provenance.source_revision == first_commit
    assert documents["src/c.md"].provenance.source_revision == second_commit


def test_only_the_last_commit_is_fetched(tmp_path: Path, repository: Repository) -> None:
    for number in range(5):
        repository.commit(a=f"# {number}{BODY}")
    checkout = fetch(repository.address, tmp_path / "clones", 60)
    count = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=checkout.folder, check=True, capture_output=True, text=True
    )
    assert count.stdout.strip() == "1"


def test_a_clone_left_by_a_killed_process_is_used_again(tmp_path: Path, repository: Repository) -> None:
    repository.commit(a=f"# A{BODY}")
    clones = tmp_path / "clones"
    folder = fetch(repository.address, clones, 60).folder
    for name in ("index.lock", "shallow.lock"):
        (folder / ".git" / name).touch()
    (folder / "a.md").write_text("half writ")
    (folder / "stray.md").write_text("stray")
    commit = repository.commit(b=f"# B{BODY}")
    again = fetch(repository.address, clones, 60)
    assert again.revision == commit
    assert sorted(path.name for path in folder.glob("*.md")) == ["a.md", "b.md"]
    assert (folder / "a.md").read_text() == f"# A{BODY}"


def test_hooks_and_links_of_a_repository_do_nothing(tmp_path: Path, repository: Repository) -> None:
    (repository.folder / "link.md").symlink_to("/etc/passwd")
    repository.commit(a=f"# A{BODY}")
    clones = tmp_path / "clones"
    folder = fetch(repository.address, clones, 60).folder
    assert not (folder / "link.md").is_symlink()
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    repository.commit(a=f"# A2{BODY}")
    fetch(repository.address, clones, 60)
    assert not (tmp_path / "hooked").exists()


@pytest.mark.parametrize(
    "address",
    ["file:///nowhere/at/all", "ext::sh -c true.git", "--upload-pack=touch.git", "http://127.0.0.1:9/x.git"],
)
def test_what_cannot_be_fetched_is_unusable(tmp_path: Path, address: str) -> None:
    assert is_git_address(address)
    with pytest.raises(SourceUnusable, match="git could not fetch"):
        fetch(address, tmp_path / "clones", 60)


def test_a_hanging_fetch_ends_with_its_children(tmp_path: Path) -> None:
    slow = tmp_path / "slow-ssh"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    slow.chmod(0o755)
    before = os.environ.get("GIT_SSH_COMMAND")
    os.environ["GIT_SSH_COMMAND"] = str(slow)
    try:
        with pytest.raises(SourceUnusable, match="took longer than 2 s"):
            fetch("git@example.org:team/docs.git", tmp_path / "clones", 2)
    finally:
        if before is None:
            del os.environ["GIT_SSH_COMMAND"]
        else:
            os.environ["GIT_SSH_COMMAND"] = before
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while runs(pid):
        assert time.monotonic() < deadline, "the child of git outlived it"
        time.sleep(0.05)


def test_secrets_stay_out_of_messages(tmp_path: Path) -> None:
    address = "http://user:hunter2@127.0.0.1:9/x.git"
    assert without_secret(address) == "http://127.0.0.1:9/x.git"
    with pytest.raises(SourceUnusable) as caught:
        fetch(address, tmp_path / "clones", 60)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://github.com/a/b", True),
        ("git@github.com:a/b.git", True),
        ("/srv/b.git", True),
        ("/srv/docs", False),
        ("docs", False),
        ("a:b/c", False),
    ],
)
def test_addresses(location: str, expected: bool) -> None:
    assert is_git_address(location) is expected
