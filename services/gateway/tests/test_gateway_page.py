"""The chat page in a real browser: what a reader sees, rates and sends, and what an answer cannot do to the page."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

QUESTION = "What is a node in Jenkins?"
LOG = """Started by user alice
[Pipeline] Start of Pipeline
[Pipeline] stage
[Pipeline] { (Build)
[Pipeline] sh
+ git fetch https://alice:hunter2secret@git.example.org/app.git
ERROR: Couldn't find any revision to build. Verify the repository and branch configuration for this job.
Finished: FAILURE
"""
HOSTILE = (
    "A node is any machine on which Jenkins can run a build. [1]\n\n<img src=x onerror=\"document.title='owned'\">"
    "<script>document.title='owned'</script><form action='https://evil.example.org'><input></form>\n\n"
    "[press here](javascript:document.title='owned') ![picture](https://evil.example.org/pixel.png)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium (apt install chromium)")
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that a container, where tests run as root, does not have.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, gateway) -> Iterator[Page]:
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(str(gateway.base_url))
    yield page
    page.close()
    assert problems == []


def ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.keyboard.press("Enter")


def test_an_answer_comes_with_its_sources_and_a_correction_reaches_the_review(page: Page, gateway) -> None:
    ask(page, QUESTION)
    expect(page.locator(".theirs")).to_contain_text("any machine on which Jenkins can run a build")
    source = page.locator(".sources a").first
    assert source.get_attribute("href").startswith("https://docs.example.org/")
    assert source.get_attribute("rel") == "noopener noreferrer"

    page.get_by_role("button", name="Not helpful").click()
    correction = page.locator(".correction")
    correction.locator("textarea").fill("A node is a machine that is part of Jenkins and can run Pipelines.")
    expect(page.get_by_role("button", name="Not helpful")).to_have_attribute("aria-pressed", "true")
    correction.get_by_role("button").click()
    expect(correction).to_be_hidden()
    (given,) = gateway.get("/v1/admin/feedback").json()
    assert (given["rating"], given["question"]) == ("down", QUESTION)
    assert given["corrected_answer"] == "A node is a machine that is part of Jenkins and can run Pipelines."


def test_a_rating_is_changed_by_the_other_button(page: Page, gateway) -> None:
    ask(page, QUESTION)
    page.get_by_role("button", name="Not helpful").click()
    expect(page.locator(".told")).to_have_text("Thank you.")
    page.get_by_role("button", name="Helpful", exact=True).click()
    expect(page.locator(".correction")).to_be_hidden()
    (given,) = gateway.get("/v1/admin/feedback").json()
    assert (given["rating"], given["corrected_answer"]) == ("up", "")


def test_a_refused_rating_is_told_and_nothing_is_pressed(page: Page, gateway) -> None:
    ask(page, QUESTION)
    gateway.put(
        "/v1/admin/switches/feedback", json={"reason": "drill", "until": "2999-01-01T00:00:00Z"}
    ).raise_for_status()
    page.get_by_role("button", name="Helpful", exact=True).click()
    expect(page.locator(".told")).to_contain_text("That did not work")
    expect(page.get_by_role("button", name="Helpful", exact=True)).to_have_attribute("aria-pressed", "false")


def test_a_console_log_is_diagnosed_without_showing_its_secrets(page: Page, tmp_path: Path) -> None:
    log = tmp_path / "build-17.log"
    log.write_text(LOG)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Diagnose a log").click()
    chooser.value.set_files(log)
    expect(page.locator(".cause")).to_contain_text("no revision to build")
    expect(page.locator(".facts")).to_contain_text("stage Build")
    expect(page.locator(".evidence")).to_contain_text("7  ERROR: Couldn't find any revision to build")
    assert page.locator(".theirs ol li").count() > 0
    expect(page.locator(".mine")).to_contain_text("build-17.log")
    assert "hunter2secret" not in page.content()


def test_an_answer_cannot_run_load_or_send_anything(page: Page, engine) -> None:
    engine.say = HOSTILE
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    ask(page, QUESTION)
    expect(page.locator(".rate")).to_be_visible()
    expect(page).to_have_title("Jeeves")
    assert page.locator(".theirs :is(img, script, form, input)").count() == 0
    links = [link.get_attribute("href") or "" for link in page.locator(".theirs a").all()]
    assert not [link for link in links if link.startswith("javascript:")]
    assert not [url for url in asked_for if "evil.example.org" in url]


def test_the_page_speaks_chinese_when_asked_to(page: Page) -> None:
    page.click("#language")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#send")).to_have_text("提问")
    words = page.evaluate("Object.entries(JEEVES_TEXTS).map(([, texts]) => Object.keys(texts).sort().join())")
    assert words[0] == words[1]
