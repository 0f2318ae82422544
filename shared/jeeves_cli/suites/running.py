"""A suite from its files to its report."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jeeves_cli.exits import CommandError, Exit, Terminated
from jeeves_cli.suites.asking import Reply, SuiteGateway
from jeeves_cli.suites.cases import LoadedCase, LoadedSuites
from jeeves_cli.suites.figures import RESAMPLES, SEED, group_figures, missed_bounds
from jeeves_cli.suites.judge import JudgeModel
from jeeves_cli.suites.scoring import (
    Scored,
    page_address,
    score_abuse,
    score_answerable,
    score_log,
    score_out_of_scope,
)
from jeeves_shared.contracts.suites import (
    CASE_TYPES,
    AbuseCase,
    AnswerableCase,
    JudgeFigures,
    LogCase,
    OutOfScopeCase,
    SuiteReport,
    SuiteRow,
)
from jeeves_shared.measures.similarity import Similarity, load_similarity

Bound = tuple[str, str, float]
NOT_ASKED = "not asked: the command was interrupted"
LOG_BYTES_MAX = 50 * 1024 * 1024


@dataclass(frozen=True)
class Judged:
    """A judge model and what its calibration found."""

    model: JudgeModel
    figures: JudgeFigures


def parse_bound(text: str) -> Bound:
    """`answerable.key_terms=0.6` as kind, metric and least value.

    Raises:
        CommandError: in another form.
    """
    name, _, value = text.partition("=")
    kind, _, metric = name.partition(".")
    try:
        least = float(value)
    except ValueError:
        least = -1.0
    if kind not in CASE_TYPES or not metric or not 0 <= least <= 1:
        raise CommandError(
            f"--at-least {text} is not of the form KIND.METRIC=SHARE, such as out_of_scope.right=0.8; "
            f"kinds: {', '.join(CASE_TYPES)}.",
            Exit.USAGE,
        )
    return kind, metric, least


def run_suites(
    suites: LoadedSuites,
    gateway: SuiteGateway,
    *,
    base: Path | None,
    bounds: Sequence[Bound],
    parallel: int,
    on_case: Callable[[int, int], None],
    judged: Judged | None = None,
    answered: Mapping[int, SuiteRow] | None = None,
) -> SuiteReport:
    """Ask every case and score it. Interrupted after the first answer, it reports what there is.

    Args:
        suites: validated.
        gateway: running.
        base: folder of the logs; None: the folder of the suite.
        bounds: from `parse_bound`.
        parallel: cases at the same time, at least 1.
        on_case: told how many of how many cases are done.
        judged: a calibrated judge; None: no figure `judge`.
        answered: from `answered_rows`: by their place, cases that are not asked again.

    Raises:
        CommandError: a log is missing, before anything is asked; the gateway is away.
    """
    has_logs = _check_logs(suites.cases, base)
    kept = answered or {}
    open_cases = [(number, loaded) for number, loaded in enumerate(suites.cases) if number not in kept]
    replies = _ask_all([loaded for _, loaded in open_cases], gateway, base, parallel, on_case) if open_cases else []
    similarity = load_similarity()
    addresses = _addresses(replies)
    new = {
        number: _row(loaded, reply, addresses, similarity)
        for (number, loaded), reply in zip(open_cases, replies, strict=True)
    }
    rows = tuple(kept.get(number) or new[number] for number in range(len(suites.cases)))
    if judged is not None and judged.figures.counts:
        rows = tuple(_judged(row, loaded, judged.model) for row, loaded in zip(rows, suites.cases, strict=True))
    groups = group_figures(rows)
    notes = list(suites.notes)
    if kept:
        notes.append(f"{len(kept)} case(s) were answered before and not asked again")
    if has_logs and not gateway.can_diagnose:
        notes.append("the gateway has no /v1/diagnose: logs were asked as chat questions with their telling lines")
    if judged is not None and not judged.figures.counts:
        notes.append(f"the judge's score does not count: it {judged.figures.reason}")
    if similarity is None:
        notes.append("no figure `similarity`: the extra `search` of jeeves-shared is not installed here")
    return SuiteReport(
        suites=suites.sha256,
        gateway=gateway.url,
        models=tuple(sorted({row.model for row in rows if row.model})),
        resamples=RESAMPLES,
        seed=SEED,
        groups=groups,
        rows=rows,
        notes=tuple(notes),
        missed_bounds=missed_bounds(groups, bounds),
        judge=judged.figures if judged else None,
        created_at=datetime.now(UTC),
    )


def _ask_all(
    cases: Sequence[LoadedCase],
    gateway: SuiteGateway,
    base: Path | None,
    parallel: int,
    on_case: Callable[[int, int], None],
) -> list[Reply]:
    """A reply to each case, in order. The first is asked alone: it shows whether there is a gateway."""
    on_case(0, len(cases))
    replies = {0: _ask(cases[0], gateway, base)}
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        waiting = {pool.submit(_ask, case, gateway, base): number for number, case in enumerate(cases) if number}
        try:
            for future in as_completed(waiting):
                on_case(len(replies), len(cases))
                replies[waiting[future]] = future.result()
        except BaseException as exc:
            # What is asked now may end, the rest is not begun.
            pool.shutdown(wait=False, cancel_futures=True)
            gateway.close()
            if not isinstance(exc, KeyboardInterrupt | Terminated):
                raise
    return [replies.get(number, Reply(error=NOT_ASKED)) for number in range(len(cases))]


def answered_rows(report: SuiteReport, suites: LoadedSuites) -> dict[int, SuiteRow]:
    """Cases of an earlier report that need not be asked again, by their place: all that have an answer.

    Raises:
        CommandError: the report is on other files, or on these in another order.
    """
    now = [(loaded.kind, loaded.case.id, _question(loaded)) for loaded in suites.cases]
    then = [(row.kind, row.id, row.question) for row in report.rows]
    if report.suites != suites.sha256 or then != now:
        raise CommandError(
            "The report to resume is on other files, or they were changed since: run the suite without --resume.",
            Exit.USAGE,
        )
    return {number: row for number, row in enumerate(report.rows) if not row.error}


def _question(loaded: LoadedCase) -> str:
    case = loaded.case
    return case.prompt if isinstance(case, AbuseCase) else str(getattr(case, "question", ""))


def _check_logs(cases: Sequence[LoadedCase], base: Path | None) -> bool:
    """Whether there are logs, all of them readable."""
    missing: list[str] = []
    logs = [(loaded, loaded.case) for loaded in cases if isinstance(loaded.case, LogCase)]
    for loaded, case in logs:
        path = _log_path(loaded, case, base)
        if not path.is_file():
            missing.append(f"  {case.id}: {path} is no file")
        elif path.stat().st_size > LOG_BYTES_MAX:
            missing.append(f"  {case.id}: {path} is larger than {LOG_BYTES_MAX >> 20} MiB")
    if missing:
        raise CommandError("Logs cannot be read (give their folder with --base):\n" + "\n".join(missing), Exit.USAGE)
    return bool(logs)


def _log_path(loaded: LoadedCase, case: LogCase, base: Path | None) -> Path:
    return (base or loaded.folder) / case.log_path


def _ask(loaded: LoadedCase, gateway: SuiteGateway, base: Path | None) -> Reply:
    case = loaded.case
    if isinstance(case, LogCase):
        try:
            log = _log_path(loaded, case, base).read_bytes()
        except OSError as exc:
            return Reply(error=f"the log cannot be read: {exc.strerror}")
        return gateway.diagnose(case.question, log)
    if isinstance(case, AbuseCase):
        return gateway.ask(case.prompt, case.document)
    if isinstance(case, AnswerableCase | OutOfScopeCase):
        return gateway.ask(case.question)
    raise TypeError(f"a case of an unknown type {type(case).__name__}")


def _addresses(replies: Sequence[Reply]) -> dict[str, str]:
    return {
        citation.source_path: page_address(citation.url)
        for reply in replies
        for citation in reply.citations
        if citation.url
    }


def _row(loaded: LoadedCase, reply: Reply, addresses: dict[str, str], similarity: Similarity | None) -> SuiteRow:
    case = loaded.case
    scored = Scored({}) if reply.error else _scored(loaded, reply, addresses)
    scores = dict(scored.scores)
    reference = _reference(loaded)
    if similarity and reference and not reply.error:
        scores["similarity"] = similarity(reply.text, reference)
    return SuiteRow(
        id=case.id,
        kind=loaded.kind,
        category=getattr(case, "category", "") or getattr(case, "kind", ""),
        question=_question(loaded),
        answer=f"{reply.text}\n{reply.quoted}".strip(),
        rung=reply.rung,
        model=reply.model,
        response_id=reply.response_id,
        refused=reply.refused,
        citations=reply.citations,
        reasons=reply.reasons,
        seconds=reply.seconds,
        scores=scores,
        misses=scored.misses,
        error=reply.error,
    )


def _reference(loaded: LoadedCase) -> str:
    case = loaded.case
    return str(getattr(case, "reference_answer", "") or getattr(case, "reference_diagnosis", ""))


def _judged(row: SuiteRow, loaded: LoadedCase, judge: JudgeModel) -> SuiteRow:
    reference = _reference(loaded)
    if row.error or not reference or "judge" in row.scores:
        return row
    verdict = judge.is_right(row.question, reference, row.answer)
    if verdict is None:
        return row.model_copy(update={"misses": (*row.misses, "the judge gave no verdict")})
    return row.model_copy(update={"scores": {**row.scores, "judge": float(verdict)}})


def _scored(loaded: LoadedCase, reply: Reply, addresses: dict[str, str]) -> Scored:
    case = loaded.case
    if isinstance(case, AnswerableCase):
        return score_answerable(case, reply.text, reply.citations, addresses)
    if isinstance(case, OutOfScopeCase):
        return score_out_of_scope(case, reply.text, refused=reply.refused)
    if isinstance(case, AbuseCase):
        return score_abuse(case, reply.text)
    if isinstance(case, LogCase):
        return score_log(case, reply.text, reply.quoted)
    raise TypeError(f"a case of an unknown type {type(case).__name__}")
