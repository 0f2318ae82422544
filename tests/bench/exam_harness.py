"""Our exam scores against lm-evaluation-harness on the same questions: `acc` by letter, `acc_norm` by text.

    python tests/bench/exam_harness.py ours base-BF16.gguf exam-test.csv ours.json [--limit N]
    <other environment>/bin/python tests/bench/exam_harness.py harness hf-folder exam-test.csv ours.json [--limit N]

The first runs the trainer's own code on a GGUF file, the second the harness' Hugging Face backend in float32 on the
weights that the file was made from, and says on how many questions both choose the same. lm_eval is in no requirements
file: it brings a large part of PyPI along.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

LETTERS = "ABCD"
SUBJECT = "Jenkins and CI/CD"
FORMS = ("letter_0", "letter_5", "text_0")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ours(gguf: Path, exam_file: Path, limit: int) -> dict[str, list[str]]:
    from jeeves_shared.contracts.exams import Exam, ExamQuestion
    from jeeves_trainer.letters import CONTEXT_TOKENS, choose_letters, choose_texts
    from jeeves_trainer.libllama import open_scorer

    dev = exam_file.with_name(exam_file.name.replace("-test", "-dev"))
    exam = Exam(
        name="exam",
        questions=tuple(ExamQuestion.model_validate(row) for row in rows(exam_file)[:limit]),
        examples=tuple(ExamQuestion.model_validate(row) for row in rows(dev)),
    )
    with open_scorer(gguf, CONTEXT_TOKENS, 1) as scorer:
        return {
            "letter_0": choose_letters(scorer, exam, 0, lambda _: None),
            "letter_5": choose_letters(scorer, exam, 5, lambda _: None),
            "text_0": choose_texts(scorer, exam, lambda _: None),
        }


def harness(folder: Path, exam_file: Path, limit: int) -> dict[str, list[str]]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    data = {"test": str(exam_file), "dev": str(exam_file.with_name(exam_file.name.replace("-test", "-dev")))}
    common: dict[str, Any] = {
        "dataset_path": "csv",
        "dataset_kwargs": {"data_files": data},
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "output_type": "multiple_choice",
        "doc_to_target": "{{['A','B','C','D'].index(answer)}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    asked = "{{question.strip()}}\nA. {{A}}\nB. {{B}}\nC. {{C}}\nD. {{D}}\nAnswer:"
    head = f"The following are multiple choice questions (with answers) about {SUBJECT}.\n\n"
    by_letter = {"doc_to_text": asked, "doc_to_choice": list(LETTERS), "description": head}
    by_text = {"doc_to_text": "Question: {{question.strip()}}\nAnswer:", "doc_to_choice": "{{[A, B, C, D]}}"}
    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)
    found = {}
    for form, body in (("letter_0", by_letter), ("letter_5", by_letter), ("text_0", by_text)):
        with tempfile.TemporaryDirectory() as kept:
            (Path(kept) / "exam.yaml").write_text(json.dumps({"task": "exam", **common, **body}))
            result = simple_evaluate(
                model=model,
                tasks=["exam"],
                num_fewshot=int(form[-1]),
                limit=limit,
                log_samples=True,
                bootstrap_iters=0,
                task_manager=TaskManager(include_path=kept, include_defaults=False),
            )
        samples = sorted(result["samples"]["exam"], key=lambda sample: sample["doc_id"])
        found[form] = [chosen(sample, by_text=form.startswith("text")) for sample in samples]
        print(form, {name: value for name, value in result["results"]["exam"].items() if "acc" in name}, flush=True)
    return found


def chosen(sample: dict[str, Any], *, by_text: bool) -> str:
    scores = [float(answer[0]) for answer in sample["filtered_resps"]]
    if by_text:
        scores = [score / len(sample["doc"][letter]) for score, letter in zip(scores, LETTERS, strict=True)]
    return LETTERS[scores.index(max(scores))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "harness"))
    parser.add_argument("model", type=Path)
    parser.add_argument("exam", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--limit", type=int, default=10_000)
    arguments = parser.parse_args()
    run = ours if arguments.side == "ours" else harness
    found = run(arguments.model, arguments.exam.resolve(), arguments.limit)
    truth = [row["answer"] for row in rows(arguments.exam)[: arguments.limit]]
    if arguments.side == "ours":
        arguments.kept.write_text(json.dumps(found))
    other = json.loads(arguments.kept.read_text())
    for form in FORMS:
        right = sum(one == answer for one, answer in zip(found[form], truth, strict=True))
        same = sum(one == two for one, two in zip(found[form], other[form], strict=True))
        print(f"{arguments.side} {form}: {right} of {len(truth)} right, {same} choices as ours")


if __name__ == "__main__":
    main()
