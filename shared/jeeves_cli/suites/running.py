"""A suite from its files to its report."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.suites.asking import Reply, SuiteGateway
from jeeves_cli.suites.cases import LoadedCase, LoadedSuites
from jeeves_cli.suites.figures import RESAMPLES, SEED, group_figures, missed_bounds
from jeeves_cli.suites.scoring import (
    Scored,
    page_address,
    score_abuse,
    score_answerable,
    score_log,
    score_out_of_scope,
)
from jeeves_cli.suites.similarity import Similarity, load_similarity
from jeeves_shared.contracts.suites import (
    CASE_TYPES,
    AbuseCase,
    AnswerableCase,
    LogCase,
    OutOfScopeCase,
    SuiteReport,
    SuiteRow,
)

Bound = tuple[str, str, float]
LOG_BYTES_MAX = 50 * 1024 * 1024


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
    on_case: Callable[[int, int], None],
) -> SuiteReport:
    """Ask every case and score it.

    Args:
        suites: validated.
        gateway: running.
        base: folder of the logs; None: the folder of the suite.
        bounds: from `parse_bound`.
        on_case: told how many of how many cases are done.

    Raises:
        CommandError: a log is missing, before anything is asked; the gateway is away.
    """
    logs = _find_logs(suites.cases, base)
    asked: list[tuple[LoadedCase, Reply]] = []
    for number, loaded in enumerate(suites.cases):
        on_case(number, len(suites.cases))
        asked.append((loaded, _ask(loaded, gateway, logs)))
    similarity = load_similarity()
    addresses = _addresses([reply for _, reply in asked])
    rows = tuple(_row(loaded, reply, addresses, similarity) for loaded, reply in asked)
    groups = group_figures(rows)
    notes = list(suites.notes)
    if logs and not gateway.can_diagnose:
        notes.append("the gateway has no /v1/diagnose: logs were asked as chat questions with their telling lines")
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
        created_at=datetime.now(UTC),
    )


def _find_logs(cases: Sequence[LoadedCase], base: Path | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    missing: list[str] = []
    for loaded in cases:
        case = loaded.case
        if not isinstance(case, LogCase):
            continue
        path = (base or loaded.folder) / case.log_path
        if not path.is_file():
            missing.append(f"  {case.id}: {path} is no file")
        elif path.stat().st_size > LOG_BYTES_MAX:
            missing.append(f"  {case.id}: {path} is larger than {LOG_BYTES_MAX >> 20} MiB")
        found[case.id] = path
    if missing:
        raise CommandError("Logs cannot be read (give their folder with --base):\n" + "\n".join(missing), Exit.USAGE)
    return found


def _ask(loaded: LoadedCase, gateway: SuiteGateway, logs: dict[str, Path]) -> Reply:
    case = loaded.case
    if isinstance(case, LogCase):
        return gateway.diagnose(case.question, logs[case.id].read_bytes())
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
    reference = getattr(case, "reference_answer", "") or getattr(case, "reference_diagnosis", "")
    if similarity and reference and not reply.error:
        scores["similarity"] = similarity(reply.text, reference)
    return SuiteRow(
        id=case.id,
        kind=loaded.kind,
        category=getattr(case, "category", "") or getattr(case, "kind", ""),
        question=case.prompt if isinstance(case, AbuseCase) else str(getattr(case, "question", "")),
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
