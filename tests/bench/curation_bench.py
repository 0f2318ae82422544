"""The figures of curation on this machine. Printed, never asserted; `make bench` runs it.

    near duplicates    the same texts through this project's step and through datatrove's MinHash, one core each:
                       texts a second of processor time, and which planted copies of 0.8 Jaccard were found
    all material       training-jobs/collect/all-material.yaml through curation, index and data set, without a teacher:
                       processor time of each job in a process of its own, embeddings included

`python tests/bench/curation_bench.py [--no-copies] [--no-material] [--texts N] [--data DIR]`; the material lies where
JEEVES_CORPORA says. With `--data` everything is kept there, and what is there is not collected again.
"""

import argparse
import json
import logging
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


# Near duplicates.


def planted_texts(count: int, seed: int = 11) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts of some 240 words, and copies of every fourth at the end; which is a copy of which, if 0.8 alike."""
    from jeeves_curator.documents.copies import jaccard, shingles

    draw = random.Random(seed)
    words = [f"{stem}{number:x}" for stem in ("agent", "build", "node", "stage") for number in range(3000)]
    texts = [" ".join(draw.choice(words) for _ in range(draw.randrange(80, 400))) for _ in range(count)]
    pairs = []
    for number in range(0, count, 4):
        copy = texts[number].split()
        for place in draw.sample(range(len(copy)), max(1, round(len(copy) * draw.uniform(0.005, 0.024)))):
            copy[place] = "changed"
        text = " ".join(copy)
        if jaccard(shingles(texts[number]), shingles(text)) >= 0.8:
            pairs.append((number, len(texts)))
            texts.append(text)
    return texts, pairs


def own_copies(texts: list[str]) -> set[int]:
    """Numbers of the texts that this project would drop."""
    from jeeves_curator.documents.copies import NearCopies

    known = NearCopies(0.8)
    return {number for number, text in enumerate(texts) if known.find_or_add(str(number), text) is not None}


def datatrove_copies(texts: list[str]) -> set[int]:
    """Numbers of the texts that datatrove's four MinHash stages would drop, with its defaults (14 buckets of 8).

    It is given words by a split at blanks, faster than any tokenizer that it has: so only MinHash is compared.
    """
    logging.disable(logging.WARNING)
    from datatrove.data import Document as TroveDocument
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupFilter
    from datatrove.utils.word_tokenizers import WordTokenizer
    from loguru import logger

    class Blanks(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    logger.remove()
    config = MinhashConfig(n_grams=5)
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        documents = [TroveDocument(text=text, id=str(number)) for number, text in enumerate(texts)]
        signatures = MinhashDedupSignature(output_folder=f"{folder}/s", config=config, language=Blanks())
        signatures.run(iter(documents), 0, 1)
        for bucket in range(config.num_buckets):
            step = MinhashDedupBuckets(input_folder=f"{folder}/s", output_folder=f"{folder}/b", config=config)
            step.run(None, bucket, config.num_buckets)
        MinhashDedupCluster(input_folder=f"{folder}/b", output_folder=f"{folder}/r", config=config).run(None, 0, 1)
        kept = MinhashDedupFilter(input_folder=f"{folder}/r").run(iter(documents), 0, 1)
        return set(range(len(texts))) - {int(document.id) for document in kept}


def copies(count: int) -> None:
    texts, pairs = planted_texts(count)
    print(f"{len(texts)} texts, {len(pairs)} of them copies of 0.8 Jaccard and more")
    sides: list[tuple[str, Callable[[list[str]], set[int]]]] = [("this project", own_copies)]
    try:
        import datatrove

        sides.append((f"datatrove {getattr(datatrove, '__version__', '')}".strip(), datatrove_copies))
    except ImportError:
        print("datatrove is not installed: `make bench` compares with it in an environment of its own")
    for name, find in sides:
        find(texts[:40])  # Imports and caches are not what is measured.
        before = cpu_seconds()
        dropped = find(texts)
        spent = cpu_seconds() - before
        found = sum(bool({one, other} & dropped) for one, other in pairs)
        wrong = len(dropped - {number for pair in pairs for number in pair})
        print(
            f"{name:<24} {len(texts) / spent:10.0f} texts/s of one core   recall {found / len(pairs):.3f}   "
            f"dropped wrongly {wrong}",
            flush=True,
        )


# All material.


def job(data_dir: Path, name: str, request: dict[str, Any]) -> Any:
    """Run a job in this process, in its real context."""
    from jeeves_collector.jobs import collect
    from jeeves_curator import datasets, indexes
    from jeeves_curator.documents import curation
    from jeeves_shared.artifacts import ArtifactStore
    from jeeves_shared.jobs.store import JobStore, open_database
    from jeeves_shared.jobs.worker import JobContext

    kinds: dict[str, Callable[[JobContext, dict[str, Any]], Any]] = {
        "collections": collect, "curations": curation.run, "indexes": indexes.run, "datasets": datasets.run,
    }  # fmt: skip
    folder = data_dir / ("collector" if name == "collections" else "curator")
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_database(f"sqlite:///{folder / 'state.sqlite'}")
    jobs = JobStore(engine)
    submitted = jobs.submit(name, {"nonce": uuid.uuid4().hex}, "in-flight").job
    work_dir = folder / "work" / submitted.id
    work_dir.mkdir(parents=True)
    try:
        return kinds[name](JobContext(submitted.id, work_dir, ArtifactStore(str(data_dir / "store")), jobs), request)
    finally:
        engine.dispose()


def child(data_dir: Path, name: str, request_path: Path) -> None:
    before, started = cpu_seconds(), time.monotonic()
    manifest = job(data_dir, name, json.loads(request_path.read_text()))
    figures = {
        "cpu_seconds": cpu_seconds() - before, "seconds": time.monotonic() - started,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }  # fmt: skip
    print(json.dumps({"manifest": manifest.model_dump(mode="json"), **figures}))


def measured(data_dir: Path, name: str, request: dict[str, Any]) -> dict[str, Any]:
    path = data_dir / f"{name}.json"
    path.write_text(json.dumps(request))
    command = [sys.executable, __file__, "--child", str(data_dir), name, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{name:<14} {figures['cpu_seconds']:8.1f} s CPU  {figures['seconds']:8.1f} s  "
        f"{figures['peak_bytes'] / 2**20:6.0f} MiB   {figures['manifest']['id']}",
        flush=True,
    )
    return figures


def material(data_dir: Path, corpora: Path) -> None:
    import yaml

    collect = yaml.safe_load((ROOT / "training-jobs/collect/all-material.yaml").read_text())
    for source in collect["sources"]:
        source["location"] = str(corpora / source["location"].partition("/")[2])
    recipe = yaml.safe_load((ROOT / "training-jobs/curate/several-sources.yaml").read_text())
    collection = measured(data_dir, "collections", {"recipe": collect})["manifest"]
    asked = {"recipe": recipe, "collection": collection}
    jobs = [measured(data_dir, name, asked) for name in ("curations", "indexes")]
    jobs.append(measured(data_dir, "datasets", {**asked, "index": jobs[-1]["manifest"]}))
    spent = sum(figures["cpu_seconds"] for figures in jobs)
    print(f"{collection['documents']} documents, {collection['pairs']} pairs, collected: {collection['drops']}")
    for figures in jobs:
        manifest = figures["manifest"]
        print({key: manifest[key] for key in ("drops", "documents_kept", "sections", "pairs_kept") if key in manifest})
    print(f"curation, index and data set: {spent:.0f} s CPU, {spent / 2:.0f} s on two idle cores at best   ≤ 360 s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--no-copies", action="store_true")
    parser.add_argument("--no-material", action="store_true")
    parser.add_argument("--texts", type=int, default=3000)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), arguments.child[1], Path(arguments.child[2]))
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    if not arguments.no_copies:
        copies(arguments.texts)
    corpora = Path(os.environ.get("JEEVES_CORPORA") or ROOT.parent / "shared" / "corpora")
    if not arguments.no_material and corpora.is_dir():
        with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
            data_dir = arguments.data or Path(folder)
            data_dir.mkdir(parents=True, exist_ok=True)
            material(data_dir, corpora)


if __name__ == "__main__":
    main()
