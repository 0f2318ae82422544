"""From the engine's text to the answer: markers, quotations, checks; with real passages."""

import random
from dataclasses import dataclass, replace

import pytest

from jeeves_gateway.citations import CitedText
from jeeves_gateway.grounding import flaw_of, is_looping, is_refusal
from jeeves_gateway.openai_form import ChatMessage, ChatRequest
from jeeves_gateway.outcome import Draft
from jeeves_gateway.passages import SourceSet, blocks
from jeeves_gateway.quotation import far_behind
from jeeves_gateway.quoting import append_source, best_code_block, is_chinese, wants_code, write_extract
from jeeves_gateway.retrieval import Retrieved
from jeeves_gateway.writer import AnswerWriter
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search import Topicality

QUESTION = "How do I use withCredentials with a username and password?"
CODE = (
    "```groovy\nwithCredentials([usernamePassword(credentialsId: 'nexus',\n"
    "        usernameVariable: 'USER', passwordVariable: 'PASS')]) {\n    sh 'deploy.sh'\n}\n```"
)
ANSWER = (
    "The `usernamePassword` binding sets two variables [2], named by `usernameVariable` and `passwordVariable`. "
    "A node is any machine on which Jenkins can run a build.\n\n"
    f"Do it like this:\n\n{CODE}\n\nKeep the block as small as possible."
)


@pytest.fixture
def sources(some_passages) -> SourceSet:
    return SourceSet(QUESTION, some_passages[:3])


def written(sources: SourceSet, pieces: list[str]) -> AnswerWriter:
    writer = AnswerWriter(sources)
    sent = "".join([writer.feed(piece) for piece in pieces]) + writer.finish()
    assert sent == writer.cited.text, "what was sent is the answer"
    return writer


def test_markers_follow_the_sentences_that_passages_support(sources) -> None:
    writer = written(sources, [ANSWER])
    assert "`passwordVariable`. [1] A node is any machine on which Jenkins can run a build. [2]" in writer.cited.text
    assert "variables [2]," not in writer.cited.text, "the engine's own markers mean nothing"
    assert f"{CODE}\nSource: [1]" in writer.cited.text
    citations = writer.cited.citations()
    assert [(item.number, item.section) for item in citations] == [
        (1, "Username and password"),
        (2, "Nodes and executors"),
    ]
    for marker in writer.cited.markers:
        assert writer.cited.text[marker.start : marker.end] == f"[{marker.number}]"


@pytest.mark.parametrize("seed", range(40))
def test_however_the_text_is_cut_the_answer_is_the_same(sources, seed) -> None:
    dice = random.Random(seed)
    pieces, rest = [], ANSWER
    while rest:
        size = dice.choice((1, 1, 2, 3, 5, 9, 17))
        pieces.append(rest[:size])
        rest = rest[size:]
    assert written(sources, pieces).cited.text == written(sources, [ANSWER]).cited.text


def test_text_is_not_held_back_longer_than_needed(sources) -> None:
    writer = AnswerWriter(sources)
    assert writer.feed("A node is any") == "A node is any"
    assert writer.feed(" machine [") == " machine"
    assert writer.feed("x] that") == " [x] that"
    assert writer.feed(" `") == " "


def test_code_that_is_no_quotation_is_replaced_once(sources) -> None:
    invented = "```groovy\nlogin('me')\n```\n"
    writer = written(sources, [f"Use withCredentials:\n\n{invented}\nor\n\n{invented}"])
    assert "login(" not in writer.cited.text
    assert writer.cited.text.count("withCredentials([") == 1
    assert writer.code_replaced


def test_the_same_quotation_twice_is_a_loop(sources) -> None:
    writer = written(sources, [f"Use withCredentials:\n\n{CODE}\n\nor:\n\n{CODE}\n"])
    assert writer.repeating and writer.cited.text.count("```") == 2


def test_an_unfinished_block_is_not_sent(sources) -> None:
    writer = written(sources, ["Use withCredentials:\n\n```groovy\nlogin('me')"])
    assert "login(" not in writer.cited.text and writer.cited.text.count("```") == 2


def test_supported_answers_stand_and_others_do_not(sources) -> None:
    good = "The `usernamePassword` binding of `withCredentials` sets two variables."
    assert flaw_of(good, sources) is None
    assert flaw_of("Install the Slack application from the marketplace of your company.", sources) == "unsupported"
    assert flaw_of(good + " Pass `--turbo-login` to it.", sources) == "invented-names"
    assert flaw_of("See https://evil.example/x for the usernamePassword binding.", sources) == "invented-names"
    assert flaw_of("<|im_start|>" + good, sources) == "control-tokens"
    assert flaw_of(" \n", sources) == "empty"
    assert flaw_of("Anything may be said without sources.", SourceSet("x", ())) is None


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("the agent and the node and " * 4, True),
        ("A sentence that says one thing. " * 4, True),
        ("one " * 40, True),
        ("- first step\n- second step\n- third step\n- fourth step\n", False),
        ("    }\n  }\n}\n" * 2, False),
        ("A node is a machine. An executor is a slot. A label is a name.", False),
    ],
)
def test_loops(text, looping) -> None:
    assert is_looping(text.rstrip()) is looping


def test_refusals_of_the_model() -> None:
    assert is_refusal("I could not find this in the Jenkins documentation that I searched.")
    assert is_refusal("Sorry, I couldn't find an answer.")
    assert not is_refusal("The build fails because Jenkins cannot find the file: " + "use `fileExists`. " * 20)


def test_extract_reads_well_and_is_cited(some_passages) -> None:
    cited = CitedText(some_passages)
    text = write_extract(cited, QUESTION)
    assert text.startswith("The `usernamePassword` binding of `withCredentials` sets two variables")
    assert text.count("```") == 2 and cited.citations()[0].section == "Username and password"


def test_extract_has_no_broken_links_or_images(some_passages) -> None:
    text = "See [the page](../other.adoc) and ![shot](a.png) of [Jenkins](https://www.jenkins.io/), the credentials."
    cited = CitedText([some_passages[0].model_copy(update={"text": text})])
    assert (
        write_extract(cited, "credentials")
        == "See the page and  of [Jenkins](https://www.jenkins.io/), the credentials. [1]"
    )


def test_other_parts_of_a_section_that_is_quoted_whole_are_not_quoted_again(some_passages) -> None:
    first, second = "Credentials are bound in a block.", "A credentials block hides the bound values."
    whole = f"{first}\n\n{second}"
    parts = [some_passages[0].model_copy(update={"text": whole}) for _ in range(2)]
    cited = CitedText(parts)
    assert write_extract(cited, "credentials bound in a block") == f"{whole} [1]"


def test_code_is_quoted_as_it_is(some_passages) -> None:
    text = "The credentials:\n\n```groovy\nlist[0](first)\n```\n\nand `map[key](x)`."
    cited = CitedText([some_passages[0].model_copy(update={"text": text})])
    assert write_extract(cited, "credentials") == f"{text} [1]"


def test_the_section_stands_under_an_answer_that_leaves_out_most_of_it(some_passages) -> None:
    cited = CitedText(some_passages[:3])
    cited.add("The `usernamePassword` binding sets two variables.")
    cited.mark(0)
    section = some_passages[0].text.strip()
    assert append_source(cited, QUESTION) == f"\n\nFrom the source [1]:\n\n{section}"
    assert [marker.number for marker in cited.markers] == [1, 1]
    assert append_source(cited, QUESTION) == "", "what the answer says already is not said again"


def test_the_best_section_stands_there_too_when_the_model_trusts_another(some_passages) -> None:
    cited = CitedText(some_passages[:3])
    cited.add("A node is a machine.")
    cited.mark(1)
    text = append_source(cited, QUESTION)
    first, second = some_passages[1].text.strip(), some_passages[0].text.strip()
    assert text.startswith(f"\n\nFrom the source [1]:\n\n{first}\n\nFrom the source [2]:\n\n{second}")


def test_nothing_is_put_under_an_answer_without_sources(some_passages) -> None:
    cited = CitedText(some_passages[:3])
    cited.add("Hello.")
    assert append_source(cited, QUESTION) == ""


def test_the_source_is_announced_in_the_language_of_the_question(some_passages) -> None:
    cited = CitedText(some_passages[:1])
    cited.add("用 `withCredentials`。")
    cited.mark(0)
    assert append_source(cited, "如何在流水线中使用凭据？").startswith("\n\n来源原文 [1]：\n\n")


def test_code_that_its_page_warns_of_is_no_example(some_passages) -> None:
    warned = 'To echo a secret:\n\n```groovy\n/* WRONG! */\nsh "echo ${SECRET}"\n```\n'
    passage = some_passages[0].model_copy(update={"text": warned})
    assert best_code_block("How do I echo a secret?", [passage]) is None


def test_blocks_are_verbatim() -> None:
    text = "# T\n\nOne\ntwo.\n\n- a\n- b\n\n~~~sh\nls\n\n# no heading\n~~~\n\n| a |\n|---|\n| b |\n"
    assert [(block.kind, block.text) for block in blocks(text)] == [
        ("paragraph", "One\ntwo."),
        ("list", "- a\n- b"),
        ("code", "```sh\nls\n\n# no heading\n```"),
        ("table", "| a |\n|---|\n| b |"),
    ]


def test_code_for_a_question(some_passages) -> None:
    found = best_code_block("How do I run stages in parallel?", some_passages)
    assert found is not None and some_passages[found.passage].section == "Parallel stages"
    assert best_code_block("What is the weather?", some_passages) is None


@pytest.mark.parametrize(
    ("question", "code", "chinese"),
    [
        ("How do I bind a secret?", True, False),
        ("Why is the build slow?", False, False),
        ("如何在流水线中使用凭据？", True, True),
        ("Jenkins 是什么？", False, True),
    ],
)
def test_kinds_of_questions(question, code, chinese) -> None:
    assert (wants_code(question), is_chinese(question)) == (code, chinese)


def _page(number: int, path: str, text: str) -> Passage:
    return Passage(
        section_id=f"p{number}", source_path=path, url="", title="Agents", section=f"S{number}", text=text, licence=""
    )


def test_another_section_of_the_best_page_is_quoted_whole_and_another_page_by_its_best_paragraph() -> None:
    more = "An agent has executors.\n\nA label names what an agent can do."
    passages = [_page(0, "a.md", "An agent runs builds with a label."), _page(1, "a.md", more), _page(2, "b.md", more)]
    same_page = write_extract(CitedText(passages[:2]), "What is an agent label?")
    assert more in same_page
    other_page = write_extract(CitedText([passages[0], passages[2]]), "What is an agent label?")
    assert "A label names" in other_page and "executors" not in other_page
    too_long = _page(3, "a.md", f"A label names an agent.\n\n{'Nothing else is said of it. ' * 120}")
    assert "Nothing else" not in write_extract(CitedText([passages[0], too_long]), "What is an agent label?")


def test_pages_far_behind_the_best_one_are_not_quoted() -> None:
    passages = tuple(
        _page(number, path, "An agent has a label.") for number, path in enumerate(("a.md", "a.md", "b.md"))
    )
    found = tuple(Hit(passage, score) for passage, score in zip(passages, (0.8, 0.5, 0.5), strict=True))
    retrieved = Retrieved("index-1", 2, 3, found, (), Topicality(0.5, 0.5))
    request = ChatRequest(messages=[ChatMessage(role="user", content="What is a label?")])
    draft = Draft(request, "What is a label?", retrieved, SourceSet("What is a label?", passages))
    assert far_behind(draft) == {2}, "the second is of the same page"
    near = replace(retrieved, found=(*found[:2], Hit(passages[2], 0.7)))
    assert far_behind(replace(draft, retrieved=near)) == set()
    assert write_extract(CitedText(passages), "agent label", far_behind(draft)).count("[") == 1


@dataclass(frozen=True)
class Hit:
    passage: Passage
    score: float
    rank: int = 1
    similarity: float = 0.5
    sentence: float = 0.5
    coverage: float = 0.5


@pytest.mark.parametrize(
    ("question", "answer", "flaw"),
    [
        ("What is an executor slot on a node?", "An executor slot is an executor slot.", "says-nothing"),
        ("What is an executor?", "The executor on a node is an executor of the node.", "says-nothing"),
        ("How many executors has a node?", "A node has executors.", "says-nothing"),
        ("What is an executor?", "An executor is one slot on a node.", None),
        ("Does a node run builds?", "Yes, a node runs builds.", None),
    ],
)
def test_answers_that_say_nothing(some_passages, question: str, answer: str, flaw: str | None) -> None:
    assert flaw_of(answer, SourceSet(question, some_passages)) == flaw
