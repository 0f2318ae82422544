"""The job `exams`: multiple choice by log-likelihood, on the quantized file, base against candidate."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.base import content_hash, manifest_id
from jeeves_shared.contracts.exams import Exam
from jeeves_shared.contracts.manifests import ExamReport
from jeeves_shared.contracts.requests import ExamRequest
from jeeves_shared.engine.binary import engine_version
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.measures.bootstrap import MetricName, compare, mean_of
from jeeves_trainer.evaluations import file_of
from jeeves_trainer.letters import CONTEXT_TOKENS, choose_letters
from jeeves_trainer.libllama import open_scorer
from jeeves_trainer.settings import job_threads


def take_exam(context: JobContext, request: dict[str, Any]) -> ExamReport:
    """Put an exam to base and candidate, or return the report that is there already.

    Args:
        context: of the job.
        request: an `ExamRequest`.

    Raises:
        RecipeError: the model has no such quantization, or the exam too few examples.
        EvaluationFailed: a file cannot be loaded, or a question is too long.
        NotFound, ArtifactCorrupt: a file is gone or damaged.
        JobCancelled: the job was asked to stop.
    """
    body = ExamRequest.model_validate(request)
    model = body.model
    files = {
        "base": file_of(model.base_files, body.quantization, model),
        "candidate": file_of(model.files, body.quantization, model),
    }
    questions_sha256 = content_hash(body.exam)
    identity = manifest_id(
        "exam",
        {
            "exam": questions_sha256,
            "files": {role: file.sha256 for role, file in files.items()},
            "shots": body.shots,
            "seed": body.seed,
            "resamples": body.resamples,
            "engine": engine_version(),
        },
    )
    known = context.store.find_manifest(ExamReport, "exam", identity)
    if known:
        context.log(f"{identity} is there already: nothing to ask")
        return known
    letters: dict[tuple[str, int], list[str]] = {}
    total = len(files) * len(body.shots)
    for role, file in files.items():
        for shots in body.shots:
            done = len(letters)
            saved = context.work_dir / f"exam-{file.sha256}-{shots}.json"

            def tell(share: float, role: str = role, shots: int = shots, done: int = done) -> None:
                context.report((done + share) / total, f"{role}, {shots}-shot")

            letters[role, shots] = _answers(context.store.path(file), body.exam, shots, saved, tell)
    report = _report(body, identity, questions_sha256, letters)
    context.store.put_manifest(report)
    return report


def _answers(gguf: Path, exam: Exam, shots: int, saved: Path, tell: Callable[[float], None]) -> list[str]:
    """The letters that a file chooses; read where an earlier attempt of the job found them."""
    if saved.is_file():
        found: list[str] = json.loads(saved.read_text(encoding="utf-8"))
        return found
    with open_scorer(gguf, CONTEXT_TOKENS, job_threads()) as scorer:
        letters = choose_letters(scorer, exam, shots, tell)
    write_atomic(saved, json.dumps(letters).encode())
    return letters


def _report(
    body: ExamRequest, identity: str, questions_sha256: str, letters: dict[tuple[str, int], list[str]]
) -> ExamReport:
    questions = body.exam.questions

    def right(role: str, shots: int) -> list[float]:
        chosen = letters[role, shots]
        return [float(letter == question.answer) for letter, question in zip(chosen, questions, strict=True)]

    metrics, wrong = [], {}
    for shots in body.shots:
        name = f"accuracy_{shots}_shot"
        candidate = right("candidate", shots)
        metrics.append(
            compare(
                MetricName(name, "share", higher_is_better=True),
                mean_of(right("base", shots)),
                mean_of(candidate),
                None,
                resamples=body.resamples,
                seed=body.seed,
            )
        )
        wrong[name] = tuple(question.id for question, hit in zip(questions, candidate, strict=True) if not hit)
    return ExamReport(
        id=identity,
        exam=body.exam.name,
        exam_sha256=questions_sha256,
        model_id=body.model.id,
        file=file_of(body.model.files, body.quantization, body.model),
        quantization=body.quantization,
        engine=f"llama.cpp of llama-cpp-python {engine_version()}",
        metrics=tuple(metrics),
        wrong=wrong,
        created_at=datetime.now(UTC),
    )
