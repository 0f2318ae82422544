"""A collection as a whole: identity, shards, stability."""

from pathlib import Path
from typing import Any

import pytest

from jeeves_collector.jobs import collect
from jeeves_shared.errors import JobCancelled
from jeeves_shared.jobs.worker import JobContext

BODY = "\n\nA text that is long enough to be kept as a document.\n"
ADOC = f"= Page\n\n[source,sh]\n----\nls\n----{BODY}"


def tree(root: Path, **fields: Any) -> dict[str, Any]:
    return {"type": "tree", "name": "src", "location": str(root), **fields}


def test_an_unchanged_source_is_the_same_collection_wherever_it_lies(
    collector: Any, write_tree: Any, tmp_path: Path
) -> None:
    root = write_tree({"a.adoc": ADOC, "b.md": f"# B{BODY}"})
    first = collector.collect(tree(root))
    second = collector.collect(tree(root))
    assert second == first
    assert "nothing has changed" in collector.log()
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert collector.collect(tree(moved)).id == first.id
    assert collector.collect(tree(moved, licence="MIT")).id != first.id
    assert (first.documents, first.code_blocks, first.source_name) == (2, 1, "src")


def test_a_change_keeps_the_rest_byte_equal(collector: Any, write_tree: Any) -> None:
    files = {f"d{number:04d}.md": f"# {number}{BODY}" for number in range(300)}
    root = write_tree(files)
    first = collector.collect(tree(root))
    assert [shard.name for shard in first.shards] == ["documents-00000.jsonl", "documents-00001.jsonl"]
    write_tree({"d0299.md": f"# changed{BODY}"})
    second = collector.collect(tree(root))
    assert second.id != first.id
    assert second.shards[0] == first.shards[0]
    assert second.shards[1] != first.shards[1]


def test_a_second_collector_of_the_same_files_agrees(
    collector: Any, make_collector: Any, write_tree: Any, tmp_path: Path
) -> None:
    root = write_tree({"a.adoc": ADOC})
    with make_collector(tmp_path / "other") as other:
        assert other.collect(tree(root)).id == collector.collect(tree(root)).id


def test_lost_shards_are_written_again(collector: Any, write_tree: Any) -> None:
    root = write_tree({"a.adoc": ADOC})
    first = collector.collect(tree(root))
    collector.store.path(first.shards[0]).unlink()
    again = collector.collect(tree(root))
    assert again.id == first.id
    assert again.shards == first.shards
    assert collector.documents(again)


def test_several_sources_are_one_collection(collector: Any, write_tree: Any) -> None:
    root = write_tree(
        {
            "b/x.md": f"# X{BODY}",
            "a/y.md": f"# Y{BODY}",
            "p.jsonl": '{"question":"Q","answer":"A","source_path":"b/x.md"}\n',
        }
    )
    manifest = collector.collect(
        tree(root / "b", name="b"),
        tree(root / "a", name="b-a"),
        {"type": "pairs", "name": "p", "location": str(root / "p.jsonl")},
    )
    assert list(collector.documents(manifest)) == ["b-a/y.md", "b/x.md"]
    assert manifest.source_name == "b+b-a+p"
    assert manifest.pairs == 1


def test_progress_is_told_and_a_cancel_obeyed(collector: Any, write_tree: Any) -> None:
    root = write_tree({f"{number}.md": f"# {number}{BODY}" for number in range(5)})
    collector.collect(tree(root))
    progress = collector.jobs.get(collector.last_job).progress
    assert progress.message
    job = collector.jobs.submit("collections", {"x": 1}, "in-flight").job
    context = JobContext(job.id, collector.data_dir / "collector" / "work" / job.id, collector.store, collector.jobs)
    context.cancel()
    with pytest.raises(JobCancelled):
        collect(context, {"recipe": {"name": "t", "sources": [tree(root)]}})
