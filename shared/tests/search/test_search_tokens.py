import pytest

from jeeves_shared.search.tokens import TERM_CHARACTERS_MAX, content_tokens, identifiers, tokens


def terms(text: str) -> list[str]:
    return [token.term for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "term", "parts"),
    [
        ("withCredentials", "withcredentials", ("with", "credenti")),
        ("-Dhudson.model.DirectoryBrowserSupport.CSP=x", "-dhudson.model.directorybrowsersupport.csp", None),
        ("JENKINS_HOME", "jenkins_home", ("jenkin", "home")),
        ("plug-ins", "plugin", ("plug", "in")),
        ("Multi-branch", "multibranch", ("multi", "branch")),
        ("org.jenkinsci.plugins.Foo", "org.jenkinsci.plugins.foo", ("org", "jenkinsci", "plugin", "foo")),
        ("2.479.1", "2.479.1", ()),
        ("--prefix", "--prefix", ("prefix",)),
        ("running", "run", ()),
        ("Jenkins's", "jenkin", ()),
    ],
)
def test_one_word_becomes_its_term_and_parts(text: str, term: str, parts: tuple[str, ...] | None) -> None:
    first = next(tokens(text))
    assert first.term == term
    if parts is not None:
        assert first.parts == parts


def test_a_system_property_is_found_without_its_flag() -> None:
    assert "hudson.model.x" in next(tokens("-Dhudson.model.X=1")).parts


def test_a_call_and_a_block_are_found_by_their_name() -> None:
    assert terms("cleanWs()") == ["cleanws"]
    assert terms("post{always}") == ["post", "alway"]


def test_chinese_is_cut_into_bigrams_and_mixes_with_english() -> None:
    assert terms("流水线语法") == ["流水", "水线", "线语", "语法"]
    assert terms("在Jenkinsfile中") == ["在", "jenkinsfil", "中"]


def test_very_long_words_do_not_become_terms() -> None:
    assert all(len(term) <= TERM_CHARACTERS_MAX for term in terms("x_" * 400 + " " + "a" * 500 + "."))


def test_question_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert [token.term for token in content_tokens("How do I use an agent?")] == ["use", "agent"]
    assert [token.term for token in content_tokens("What is it?")] == ["what", "is", "it"]
    assert content_tokens("?!") == []


def test_identifiers_of_a_question() -> None:
    question = "Does `teardown {}` or cleanWs() with -Dfoo.bar=1, JENKINS_HOME and post {} need withCredentials?"
    assert identifiers(question) == ["teardown", "cleanWs", "post", "-Dfoo.bar", "JENKINS_HOME", "withCredentials"]
    assert identifiers("Which LTS of Jenkins 2.479.1 supports SSH on GitHub, e.g. today?") == []
