"""What stays equal when curation runs again, on a cluster, or with one changed document: printed, never asserted.

`python tests/bench/curation_changes.py --data DIR [--document PATH]`: DIR is what `curation_bench.py --data DIR` kept.
Beside its store three more are filled from the same collection:

    again     everything once more from nothing: ids and artifacts are compared
    cluster   the steps on documents through datatrove in two processes, then the job (if datatrove is installed)
    changed   one document has a section more: which curated documents, sections, rows and vectors differ
"""

import argparse
import json
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from curation_bench import ROOT, measured

from jeeves_curator.cluster import main as review_on_cluster
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import canonical_json
from jeeves_shared.contracts.manifests import ArtifactRef
from jeeves_shared.search.arrays import map_arrays

RECIPE = ROOT / "training-jobs/curate/several-sources.yaml"
DOCUMENT = "docs.jenkins.io/docs/user-docs/modules/pipeline/pages/docker.adoc"
ADDED = "\n\n## Marmalade\n\nMarmalade agents are set up with `marmaladeAgents` in the global configuration.\n"
KINDS = {"curations": "curation", "indexes": "index", "datasets": "dataset"}


def manifest(data_dir: Path, kind: str) -> dict[str, Any]:
    files = (data_dir / "store/manifests" / kind).glob("*.json")
    found: dict[str, Any] = json.loads(max(files, key=lambda path: path.stat().st_mtime).read_text())
    return found


def stored(data_dir: Path, ref: dict[str, Any]) -> Path:
    return ArtifactStore(str(data_dir / "store")).path(ArtifactRef.model_validate(ref))


def lines(data_dir: Path, ref: dict[str, Any]) -> list[str]:
    return stored(data_dir, ref).read_text(encoding="utf-8").splitlines()


def store_of(data_dir: Path, name: str, collection: dict[str, Any], changed: str = "") -> tuple[Path, dict[str, Any]]:
    """A folder with a store that holds the collection only; its manifest, with one document changed if it is named."""
    folder = data_dir / name
    shutil.rmtree(folder, ignore_errors=True)
    store = ArtifactStore(str(folder / "store"))
    made: dict[str, Any] = {**collection, "id": f"{collection['id']}{'-changed' if changed else ''}"}
    for part in ("shards", "pair_shards"):
        made[part] = []
        for ref in collection[part]:
            rows = [json.loads(line) for line in lines(data_dir, ref)]
            for row in rows:
                if changed and row.get("source_path") == changed and "text" in row:
                    row["text"] += ADDED
            text = "".join(canonical_json(row) + "\n" for row in rows)
            made[part].append(store.put_bytes(text.encode(), ref["name"]).model_dump(mode="json"))
    return folder, made


def run(folder: Path, collection: dict[str, Any]) -> dict[str, dict[str, Any]]:
    asked = {"recipe": yaml.safe_load(RECIPE.read_text()), "collection": collection}
    made = {"curations": measured(folder, "curations", asked)["manifest"]}
    made["indexes"] = measured(folder, "indexes", asked)["manifest"]
    made["datasets"] = measured(folder, "datasets", {**asked, "index": made["indexes"]})["manifest"]
    return made


def without_times(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name != "created_at"}


def compare_rows(name: str, before: list[str], after: list[str], key: str) -> None:
    gone, new = set(before) - set(after), set(after) - set(before)

    def place(line: str) -> str:
        row = json.loads(line)
        return str((row.get("document") or row.get("pair") or row).get(key, ""))

    paths = Counter(place(line) for line in new | gone)
    print(f"  {name:<22} {len(before):>6} before {len(after):>6} after   new {len(new):>4}  gone {len(gone):>4}")
    print(f"  {'':<22} of {', '.join(path for path, _ in paths.most_common(6))}")


def sections(path: Path) -> dict[str, tuple[int, str]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT section_id, id, source_path, text, heading_path, prior FROM sections")
        return {row[0]: (row[1] - 1, json.dumps(row[2:])) for row in rows}


def compare_indexes(before: Path, after: Path) -> None:
    old, new = sections(before), sections(after)
    common = [(old[name][0], new[name][0]) for name in old if name in new]
    changed = [name for name in old if name in new and old[name][1] != new[name][1]]
    print(f"  sections: {len(old)} before, {len(new)} after; new {len(set(new) - set(old))}, changed {len(changed)}")
    one, other = map_arrays(before), map_arrays(after)
    places, places_after = (np.array(column) for column in zip(*common, strict=True))
    apart = (one["vectors"][places] != other["vectors"][places_after]).any(axis=1).sum()
    print(f"  static vectors of {len(common)} common sections that differ: {apart} (words weigh by their counts)")
    if "sentence_rows" in one and "sentence_rows" in other:
        pairs = [(parts(one, place), parts(other, after)) for place, after in common]
        both = [(mine, theirs) for mine, theirs in pairs if len(mine) and len(theirs)]
        differ = sum(not np.array_equal(mine, theirs) for mine, theirs in both)
        print(f"  sentence vectors of {len(both)} common sections that differ: {differ}; ", end="")
        print(f"encoded before or after only: {sum(bool(len(mine)) != bool(len(theirs)) for mine, theirs in pairs)}")


def parts(arrays: dict[str, Any], place: int) -> Any:
    """Sentence vectors of a section; none if it has none."""
    start = arrays["sentence_rows"][place]
    if start < 0:
        return arrays["sentence_vectors"][:0]
    following = arrays["sentence_rows"][place + 1 :]
    known = following[following >= 0]
    return arrays["sentence_vectors"][start : known[0] if len(known) else None]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--document", default=DOCUMENT)
    arguments = parser.parse_args()
    data_dir = arguments.data.resolve()
    collection = manifest(data_dir, "collection")
    first = {name: manifest(data_dir, kind) for name, kind in KINDS.items()}

    print("again")
    second = run(*store_of(data_dir, "again", collection))
    for name, made in first.items():
        print(f"  {name}: equal {without_times(made) == without_times(second[name])}")

    print("cluster")
    folder, _ = store_of(data_dir, "cluster", collection)
    (folder / "collection.json").write_text(json.dumps(collection))
    asked = ["--collection", str(folder / "collection.json"), "--recipe", str(RECIPE), "--workers", "2"]
    if review_on_cluster([*asked, "--store", str(folder / "store"), "--logs", str(folder / "logs")]) == 0:
        for ref in collection["shards"]:
            stored(folder, ref).unlink()  # What was not reviewed by now could not be.
        made = measured(folder, "curations", {"recipe": yaml.safe_load(RECIPE.read_text()), "collection": collection})
        print(f"  curations: equal {without_times(made['manifest']) == without_times(first['curations'])}")

    print(f"changed: {arguments.document}")
    folder, changed = store_of(data_dir, "changed", collection, arguments.document)
    third = run(folder, changed)
    old, new = first["curations"], third["curations"]
    compare_rows("curated documents", lines(data_dir, old["documents"]), lines(folder, new["documents"]), "source_path")
    compare_indexes(stored(data_dir, first["indexes"]["artifact"]), stored(folder, third["indexes"]["artifact"]))
    old, new = first["datasets"], third["datasets"]
    for part in ("train", "evaluation"):
        compare_rows(part, lines(data_dir, old[part]), lines(folder, new[part]), "source_path")
    texts = [next(ref for ref in each["exports"] if ref["name"] == "train.text.jsonl") for each in (old, new)]
    compare_rows("text to train on", lines(data_dir, texts[0]), lines(folder, texts[1]), "source_path")


if __name__ == "__main__":
    main()
