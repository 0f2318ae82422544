"""`python -m jeeves_curator.fit`: fit the weights of the quality score anew on labels.

The texts come from a curated document file (`documents.jsonl` of a curation), the labels from `jeeves label` or from
this package. Writes JSON: numbers, never a pickle.
"""

import argparse
import sys
from pathlib import Path

from jeeves_curator.quality import Label, fit_weights, judged_paragraphs, paragraph_hash, shipped_labels
from jeeves_curator.shards import read_lines
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.curation import CuratedDocument


def main(arguments: list[str]) -> int:
    """Fit and write.

    Args:
        arguments: of the command line.

    Returns:
        0; 1 if too few labels have a text.
    """
    parser = argparse.ArgumentParser(prog="python -m jeeves_curator.fit")
    parser.add_argument("--documents", type=Path, action="append", required=True, help="documents.jsonl of a curation")
    parser.add_argument("--labels", type=Path, action="append", default=[], help="labels beside the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the weights")
    options = parser.parse_args(arguments)
    texts = {
        paragraph_hash(text): text
        for path in options.documents
        for item in read_lines(path, CuratedDocument, path.name)
        for text in judged_paragraphs(item.document.text)
    }
    labels = {label.sha256: label for label in shipped_labels()}
    for path in options.labels:
        labels |= {label.sha256: label for label in read_lines(path, Label, path.name)}
    known = [label for name, label in sorted(labels.items()) if name in texts]
    if len(known) < 100:
        sys.stderr.write(f"only {len(known)} labels have a text in these documents; 100 are needed\n")
        return 1
    fit = fit_weights(known, texts)
    write_atomic(options.out, (fit.model_dump_json() + "\n").encode("utf-8"))
    sys.stdout.write(fit.model_dump_json(exclude={"weights"}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
