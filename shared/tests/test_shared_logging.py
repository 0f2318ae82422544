"""Logs: JSON, with ids, without secrets."""

import json
import logging
import sys
import time
from typing import Any

import pytest

from jeeves_shared.logging import JsonFormatter, job_id, mask_secrets, request_id

SECRET = "hunter2-Tr0ub4dor"


@pytest.mark.parametrize(
    "line",
    [
        f"password={SECRET}",
        f"password: {SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"{{'password': '{SECRET}'}}",
        f'{{\\"password\\": \\"{SECRET}\\"}}',
        f'"passwd":"{SECRET}"',
        f'passphrase = "two words {SECRET}"',
        f"JENKINS_API_TOKEN={SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"access_token={SECRET}&user=a",
        f"https://x/y?token={SECRET}&n=1",
        f"client_secret: {SECRET}",
        f"x-api-key: {SECRET}",
        f"api_key={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {SECRET}==",
        f"Authorization: token {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"sent Bearer {SECRET} to the engine",
        f"Jenkins-Crumb: {SECRET}",
        f"Cookie: {SECRET}",
        f"curl --password {SECRET} https://x",
        f"curl --token={SECRET}",
        f"git clone https://user:{SECRET}@github.com/x/y.git",
        f"git clone https://{SECRET}@github.com/x/y.git",
        f"postgresql+psycopg://jeeves:{SECRET}@db:5432/jeeves",
        f"private_key='{SECRET}'",
    ],
)
def test_secrets_are_masked(line: str) -> None:
    masked = mask_secrets(line)
    assert SECRET not in masked
    assert "hunter2" not in masked
    assert "****" in masked


@pytest.mark.parametrize(
    "secret",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 6,
        "glpat-" + "a1B2" * 5,
        "xoxb-" + "1234567890-abcdef",
        "hf_" + "a1B2" * 8,
        "sk-proj-" + "a1B2" * 8,
        "AKIA" + "ABCD1234" * 2,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB\nAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_known_formats_need_no_name_beside_them(secret: str) -> None:
    masked = mask_secrets(f"fetching with {secret} now")
    assert masked == "fetching with **** now"


@pytest.mark.parametrize(
    "line",
    [
        "tokens_per_second: 412",
        "answer_tokens_max=320",
        "tokenizer: SmolLM2",
        "the password is asked for on the next page",
        "GET https://www.jenkins.io/doc/book/using/using-credentials/ 200",
        "64 documents, 212 code blocks",
        "user@example.org wrote 3 pages",
        "passed: 7 of 7",
    ],
)
def test_the_rest_stays_as_it_is(line: str) -> None:
    assert mask_secrets(line) == line


def test_long_lines_do_not_take_long() -> None:
    started = time.process_time()
    for line in ("a" * 200_000, "a-" * 100_000, "token" * 40_000, 'password="' + "\\" * 100_000, "://" * 60_000):
        mask_secrets(line)
    assert time.process_time() - started < 10


def formatted(message: str, *arguments: object, **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("x").makeRecord("x", logging.INFO, "f", 1, message, arguments, None, extra=extra)
    entry: dict[str, Any] = json.loads(JsonFormatter("curator").format(record))
    return entry


def test_line_is_json_with_ids() -> None:
    request, job = request_id.set("r-1"), job_id.set("j-1")
    try:
        entry = formatted("%d documents\nand a line", 3, kind="datasets", seconds=0.5, nothing=None)
    finally:
        request_id.reset(request)
        job_id.reset(job)
    assert entry["message"] == "3 documents\nand a line"
    assert (entry["service"], entry["level"], entry["request_id"], entry["job_id"]) == ("curator", "INFO", "r-1", "j-1")
    assert (entry["kind"], entry["seconds"], entry["nothing"]) == ("datasets", 0.5, None)
    assert "job_id" not in formatted("x")


def test_extra_fields_and_traces_are_masked_too() -> None:
    entry = formatted(
        "x",
        password=SECRET,
        headers={"authorization": SECRET, "accept": "json"},
        url=f"https://u:{SECRET}@x/",
        command=["curl", f"--token={SECRET}"],
        thing=ValueError(f"token={SECRET}"),
    )
    assert SECRET not in json.dumps(entry)
    assert entry["headers"]["accept"] == "json"
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    text = JsonFormatter("curator").format(record)
    assert "ValueError" in text
    assert SECRET not in text
