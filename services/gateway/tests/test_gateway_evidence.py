"""Whether the sources can answer: what each figure of a question moves."""

from dataclasses import dataclass, replace

import pytest

from jeeves_gateway.evidence import evidence, judge, proper_names
from jeeves_gateway.retrieval import Retrieved
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search import Topicality


@dataclass(frozen=True)
class Found:
    passage: Passage
    coverage: float = 0.8
    similarity: float = 0.5
    sentence: float = 0.0
    rank: int = 1
    score: float = 0.8


PASSAGE = Passage(
    section_id="1", source_path="a/b.adoc", url="", title="Pipeline", section="Docker", text="Use Docker.", licence=""
)
RETRIEVED = Retrieved("index-1", 80, 511, (Found(PASSAGE),), (), Topicality(domain=0.25, strangeness=0.5))


def test_a_question_of_the_domain_is_answered_and_a_strange_one_is_not() -> None:
    question = "How do I run a stage in a container?"
    assert judge(question, RETRIEVED).enough
    strange = replace(RETRIEVED, topicality=Topicality(domain=-0.05, strangeness=0.95))
    assert judge(question, replace(strange, found=(Found(PASSAGE, coverage=0.5, similarity=0.3),))).reason == (
        "weak-evidence"
    )
    assert evidence(question, strange) < evidence(question, RETRIEVED)


def test_a_name_that_the_sources_lack_counts_against_them() -> None:
    known, foreign = "How do I run stages with Docker?", "How do I run stages with CircleCI?"
    assert evidence(foreign, RETRIEVED) < evidence(known, RETRIEVED)


def test_the_sentence_encoder_has_a_say_where_there_is_one() -> None:
    question = "How do I run stages with Docker?"
    near = replace(RETRIEVED, found=(Found(PASSAGE, sentence=0.8),))
    far = replace(RETRIEVED, found=(Found(PASSAGE, sentence=0.1),))
    assert evidence(question, far) < evidence(question, RETRIEVED) < evidence(question, near)


def test_a_refusal_is_overruled_only_where_the_passages_hold_the_question() -> None:
    assert judge("How do I use Docker in a Pipeline?", RETRIEVED).strong
    assert not judge("How do I use Docker with firmware debuggers in a Pipeline?", RETRIEVED).strong


def test_few_sections_have_no_subject() -> None:
    question = "How do I run stages with CircleCI?"
    few = replace(RETRIEVED, sections=20)
    assert evidence(question, few) == evidence(question, replace(few, topicality=Topicality(-1.0, 1.0)))
    assert judge(question, few).enough
    assert not judge(question, replace(few, found=(Found(PASSAGE, coverage=0.4, similarity=0.2),))).enough


def test_an_unknown_identifier_asks_for_more() -> None:
    weak = replace(RETRIEVED, found=(Found(PASSAGE, coverage=0.5, similarity=0.35),))
    assert judge("What does teardown do?", weak).enough
    assert judge("What does teardown do?", replace(weak, unknown=("teardown",))).reason == "unknown-identifier"
    assert judge("What does teardown do?", replace(weak, unknown=("teardown",)), heed_unknown=False).enough


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("How do I define a job matrix in GitLab CI?", ["GitLab", "CI"]),
        ("CircleCI orbs", ["CircleCI"]),
        ("Terraform module?", []),
        ("What does the directive `teardown {}` do?", ["teardown"]),
        ("Why does Jenkins say NoSuchMethodError for JENKINS_HOME?", []),
        ("It fails. Where is the log of Tomcat 9?", ["Tomcat"]),
    ],
)
def test_names_in_questions(question: str, names: list[str]) -> None:
    assert proper_names(question) == names
