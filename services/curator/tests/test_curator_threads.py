"""Question sites, feedback and what they become: pairs, preference pairs, text; and what gives the evaluation away."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jeeves_curator.duplicates import comparable
from jeeves_curator.leakage import Exam
from jeeves_curator.shards import read_lines
from jeeves_curator.split import split_pairs
from jeeves_curator.steps import Drop, SameQuestion
from jeeves_curator.threads import Answered, thread_of, thread_pairs
from jeeves_shared.contracts.documents import CollectedAnswer, Document, Pair, TrainingSample
from jeeves_shared.contracts.feedback import FEEDBACK_TAG
from jeeves_shared.contracts.forms import PreferenceRow, TextRow, find_form
from jeeves_shared.contracts.manifests import ArtifactRef, CurationManifest, DatasetManifest

Bench = Any
SITE = "https://stackoverflow.com/questions"
GOOD = "Raise `-Xmx` in the service file to 4g, reload systemd, and restart the controller afterwards."
POOR = "Did you try to restart the whole machine? That always helped me when anything was slow."


def answer(text: str, score: int = 0, accepted: bool = False) -> CollectedAnswer:
    return CollectedAnswer(text=text, score=score, accepted=accepted, author="b", licence="CC-BY-SA-4.0")


def thread(bench: Bench, number: int, title: str, *answers: CollectedAnswer, body: str = "", **fields: Any) -> Document:
    question = body or f"My controller number {number} behaves like this since the upgrade."
    text = "\n\n".join((f"# {title}", question, *(f"## Answer\n\n{one.text}" for one in answers)))
    made: Document = bench.document(fields.pop("path", f"so/questions/{number}"), title, text)
    url = fields.pop("url", f"{SITE}/{number}/slug")
    return made.model_copy(
        update={
            "kind": "question",
            "question": question,
            "answers": answers,
            "provenance": made.provenance.model_copy(update={"url": url, "licence": "CC-BY-SA-4.0"}),
            **fields,
        }
    )


def rows(bench: Bench, ref: ArtifactRef) -> list[TrainingSample]:
    return list(read_lines(bench.store.path(ref), TrainingSample, ref.name))


def form(bench: Bench, manifest: DatasetManifest, part: str, name: str, kind: Any) -> list[Any]:
    ref = find_form(manifest.exports, part, name)
    return list(read_lines(bench.store.path(ref), kind, ref.name)) if ref else []


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, made_once: tuple[Any, Any]) -> tuple[Any, DatasetManifest]:
    """The library with threads of every kind, and reviewed feedback."""
    bench = type(made_once[0])(tmp_path_factory.mktemp("threads"))
    documents, pairs = bench.library()
    threads = [
        thread(bench, 1, "Controller runs out of heap", answer(POOR, -2), answer(GOOD, 3, accepted=True)),
        thread(bench, 2, "Console is slow with long logs", answer("Cut the log with `options`, rotate it daily.", 5)),
        thread(bench, 3, "Nobody knows about my vault", answer("I have the very same question, any news about it?")),
        thread(bench, 4, "Nobody answered the marmalade question"),
        thread(bench, 5, "Where do plugins explain themselves", answer("[here](https://example.org/guide)", 4, True)),
        thread(
            bench, 6, "Which port do inbound agents use",
            answer("They use TCP port 50000 unless it is set to another one in the security settings.", 0, True),
            answer("Inbound agents have no port at all, and nothing can be configured about it anywhere.", -1),
            path="feedback/f-6", url="", tags=(FEEDBACK_TAG,),
        ),
    ]  # fmt: skip
    return bench, bench.dataset(bench.collection([*documents, *threads], pairs))


def test_only_answered_threads_become_pairs(mixed: tuple[Any, DatasetManifest]) -> None:
    bench, manifest = mixed
    assert manifest.drops == {"link-only": 1, "unanswered": 1}
    every = [*rows(bench, manifest.train), *rows(bench, manifest.evaluation)]
    learnt = {row.pair.source_path: row.pair for row in every if row.pair.kind != "refusal"}
    threads = {path for path in learnt if path.startswith(("so/", "feedback/"))}
    assert threads == {"so/questions/1", "so/questions/2", "feedback/f-6"}
    assert learnt["so/questions/1"].answer == GOOD
    assert "since the upgrade" in learnt["so/questions/1"].question
    curation = bench.store.find_manifest(CurationManifest, "curation", manifest.curation_id)
    assert curation.drops == {"unanswered": 1}


def test_unanswered_threads_are_no_text_to_train_on(mixed: tuple[Any, DatasetManifest]) -> None:
    bench, manifest = mixed
    texts = [*form(bench, manifest, "train", "text", TextRow), *form(bench, manifest, "evaluation", "text", TextRow)]
    paths = {row.source_path for row in texts}
    assert "so/questions/1" in paths
    assert not paths & {"so/questions/3", "so/questions/4"}


def test_the_chosen_answer_is_preferred_and_the_corrected_one(mixed: tuple[Any, DatasetManifest]) -> None:
    bench, manifest = mixed
    found = {
        row.source_path: row
        for part in ("train", "evaluation")
        for row in form(bench, manifest, part, "preference", PreferenceRow)
        if row.origin != "grounding"
    }
    assert {path: row.origin for path, row in found.items()} == {
        "so/questions/1": "answers",
        "feedback/f-6": "correction",
    }
    row = found["so/questions/1"]
    assert (row.chosen[0].content, row.rejected[0].content) == (GOOD, POOR)
    assert row.licence == "CC-BY-SA-4.0"
    assert row.prompt[-1].content.startswith("Controller runs out of heap")
    assert "no port at all" in found["feedback/f-6"].rejected[0].content


def test_a_secret_in_an_answer_is_replaced_everywhere(bench: Bench) -> None:
    secret = "deploy:maple-4711aB"  # planted
    threads = [
        thread(
            bench, 1, "Deploy by curl fails", answer(GOOD, 3, True), answer(f"Use `curl -u {secret} http://ci`.", -1)
        ),
        thread(bench, 2, "Console is slow", answer("Cut the log with `options` and rotate it daily.", 5)),
    ]
    documents, pairs = bench.library()
    manifest = bench.dataset(bench.collection([*documents, *threads], pairs))
    curation = bench.store.find_manifest(CurationManifest, "curation", manifest.curation_id)
    refs = (manifest.train, manifest.evaluation, manifest.card, *manifest.exports, curation.documents)
    made = [bench.store.read_bytes(ref) for ref in (*refs, curation.drops_file)]
    assert any(b"REDACTED_" in blob for blob in made)
    assert not any(b"maple-4711aB" in blob for blob in made)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://stackoverflow.com/questions/77/how-to", "https://www.stackoverflow.com/q/77"),
        ("https://community.jenkins.io/t/agents-fail/88", "https://community.jenkins.io/t/88/3"),
    ],
)
def test_one_thread_collected_twice_is_one_thread(bench: Bench, one: str, other: str) -> None:
    left, right = (thread(bench, 1, "T", answer(GOOD), url=url, path=f"s/{n}") for n, url in enumerate((one, other)))
    assert thread_of(left) == thread_of(right)
    assert thread_of(left) != thread_of(
        thread(bench, 2, "T", answer(GOOD), url=one.replace("7", "6").replace("88", "9"))
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 500), st.integers(2, 12))
def test_no_thread_is_split(seed: int, threads: int) -> None:
    whole = {f"src/{copy}/{number}.md": f"thread-{number}" for copy in "ab" for number in range(threads)}
    pairs = [
        Pair(id=path, kind="how-to", question=f"{path} {number}?", answer=f"{number} {path}", source_path=path)
        for number, path in enumerate(whole)
    ]
    split = split_pairs(pairs, 0.3, seed, whole)
    train, evaluation = ({whole[pair.source_path] for pair in part} for part in (split.train, split.evaluation))
    assert evaluation
    assert not train & evaluation


def test_two_threads_that_ask_the_same_are_one(bench: Bench) -> None:
    step = SameQuestion(0.95, {"so/questions/1", "so/questions/2", "so/questions/3"})

    def review(number: int, title: str) -> Pair | Drop:
        pair = Pair(
            id=str(number), kind="how-to", question=f"{title}\n\nBody {number}.", answer=f"Answer {number}.",
            source_path=f"so/questions/{number}",
        )  # fmt: skip
        return step.review(pair)

    assert isinstance(review(1, "How to restart a Jenkins pipeline from a stage"), Pair)
    found = review(2, "How to restart the Jenkins pipeline from a stage?")
    assert isinstance(found, Drop)
    assert (found.reason, found.detail) == ("same-question", "of 1")
    assert isinstance(review(3, "How to restart a Jenkins pipeline from stage 3"), Pair), "a number tells them apart"


def test_threads_come_best_answered_first(bench: Bench) -> None:
    threads = [
        thread(bench, 1, "Liked", answer(GOOD, 9)),
        thread(bench, 2, "Accepted", answer(POOR, 1), answer(GOOD, 0, True)),
        thread(bench, 3, "Known already", answer(GOOD, 9)),
        thread(bench, 4, "Voted down though accepted", answer(GOOD, -3, True)),
    ]
    pairs = thread_pairs(threads, frozenset({"so/questions/3"}))
    assert [pair.source_path[-1] for pair in pairs] == ["2", "4", "1"]
    step = Answered({document.source_path: document for document in threads})
    assert [isinstance(step.review(pair), Drop) for pair in pairs] == [False, True, False]


EXAM = [
    Pair(
        id="e1", kind="how-to", question="How do I rotate the build logs of a noisy job?", source_path="src/a.md",
        answer="Open the job, choose discard old builds, give the number of builds to keep, and save the page.",
    )
]  # fmt: skip


def test_a_smuggled_evaluation_question_is_taken_out_of_text() -> None:
    page = "# Tips\n\nAgents need Java.\n\nFAQ: how do I rotate the build logs of a *noisy* job? You know.\n\nThe end."
    text, leaks = Exam(EXAM).without(page)
    assert text == "# Tips\n\nAgents need Java.\n\nThe end."
    assert [(leak.pair_id, leak.what) for leak in leaks] == [("e1", "question")]


def test_a_question_smuggled_into_a_page_does_not_reach_the_text_to_train_on(bench: Bench, made_once: Any) -> None:
    first_bench, honest = made_once
    exam = next(row.pair for row in rows(first_bench, honest.evaluation) if row.pair.kind != "refusal")
    learnt = next(row.pair for row in rows(first_bench, honest.train) if row.pair.kind != "refusal")
    documents, pairs = bench.library()
    # A heading: paragraphs may be left out for their quality before anybody looks for leaks.
    planted = f"\n\n## FAQ: {exam.question}\n\nAgents need Java.\n"
    documents = [
        document.model_copy(update={"text": document.text + planted})
        if document.source_path == learnt.source_path
        else document
        for document in documents
    ]
    manifest = bench.dataset(bench.collection(documents, pairs))
    assert exam.id in {row.pair.id for row in rows(bench, manifest.evaluation)}
    text = "\n".join(row.text for row in form(bench, manifest, "train", "text", TextRow))
    assert "Agents need Java." in text
    assert exam.question not in text
    card = bench.store.read_bytes(manifest.card).decode()
    assert f"| {learnt.source_path} | question | {exam.id} | 100% |" in card


def test_an_evaluation_answer_is_taken_out_of_text() -> None:
    told = EXAM[0].answer.replace("Open the job", "Open your job")
    text, leaks = Exam(EXAM).without(f"# Tips\n\nAgents need Java.\n\n{told}\n")
    assert "discard" not in text
    assert [leak.what for leak in leaks] == ["answer"]
    assert Exam(EXAM).leaks("Open the job, choose discard old builds, and go on with what the next page says.") == []


def test_a_smuggled_evaluation_question_is_taken_out_of_pairs() -> None:
    others = [
        Pair(id=f"t{number}", kind="how-to", question=question, answer=told, source_path=path)
        for number, (question, told, path) in enumerate(
            (
                ("What is asked most?", f"Mostly this: {EXAM[0].question} And nobody knows that by heart.", "src/b.md"),
                ("What is an agent for?", "It runs the steps of builds, away from the controller.", "src/c.md"),
            )
        )
    ]
    for seed in range(40):
        split = split_pairs([*EXAM, *others], 0.34, seed)
        if {pair.id for pair in split.evaluation} == {"e1"}:
            break
    else:
        pytest.fail("no seed puts the exam into the evaluation part")
    assert [pair.id for pair in split.train] == ["t1"]
    assert [(drop.pair.id, drop.reason) for drop in split.leaks] == [("t0", "leakage")]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]), max_size=40))
def test_text_without_leaks_holds_no_evaluation_question(words: list[str]) -> None:
    exam = Exam(
        [Pair(id="e", kind="concept", question="alpha beta gamma delta epsilon zeta", answer="x", source_path="s")]
    )
    text, _ = exam.without(" ".join(words))
    assert "alpha beta gamma delta epsilon zeta" not in comparable(text)
