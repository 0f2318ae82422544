"""Logs in, diagnoses out: reading, masking, rules, the route, and the logs of the suites."""

import base64
import gzip
import http.client
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from jeeves_gateway.diagnosis.console import ConsoleLines, plain_text
from jeeves_gateway.diagnosis.digest import LogDigest
from jeeves_gateway.diagnosis.masking import Masker
from jeeves_gateway.diagnosis.rules import rules
from jeeves_gateway.errors import BodyTooLarge, LogUnreadable
from jeeves_shared.contracts.diagnosis import Diagnosis, DiagnosisPreview, LogFindings

NOTE = "\x1b[8mha:////4OW44Qvewr4B4eqoelw+2xoOFtXUFqtKC2p2HTU7QB71AAAAmB+LCAAAAAAAAP9b85aBtbiIQTGjNKU4P08vOT+v\x1b[0m"
STAGES = (
    "Started by user Ada Lovelace\n[Pipeline] Start of Pipeline\n[Pipeline] node\n"
    "Running on agent-7 in /home/ada/workspace/app\n[Pipeline] {\n[Pipeline] stage\n[Pipeline] { (Checkout)\n"
    "Cloning https://ada:hunter2-s3cret@git.example.org/app.git\n[Pipeline] }\n[Pipeline] // stage\n"
    "[Pipeline] stage\n[Pipeline] { (Build)\n+ export DEPLOY_TOKEN=tk-93hf83hf83\n+ make\n"
    "/srv/run.sh: line 3: mvn: command not found\necho tk-93hf83hf83 | base64\n"
    "[Pipeline] }\n[Pipeline] // stage\n[Pipeline] stage\n[Pipeline] { (Deploy)\n"
    'Stage "Deploy" skipped due to earlier failure(s)\n[Pipeline] }\n[Pipeline] // stage\n[Pipeline] }\n'
    "[Pipeline] // node\n[Pipeline] End of Pipeline\nERROR: script returned exit code 127\nFinished: FAILURE\n"
)
LINES = [
    ("WorkflowScript: 7: Unknown stage section \"stepss\". @ line 7, column 5.", "unknown"),
    ("WorkflowScript: 12: Expected a step @ line 12, column 9.", "syntax"),
    ("java.lang.NoSuchMethodError: No such DSL method 'deployTo' found among steps [archive, bat]", "pipeline-logic"),
    ("groovy.lang.MissingPropertyException: No such property: VERSON for class: WorkflowScript", "pipeline-logic"),
    ("java.io.NotSerializableException: groovy.json.internal.LazyMap", "pipeline-logic"),
    ("Scripts not permitted to use staticMethod java.lang.System getenv", "sandbox"),
    ("fatal: Authentication failed for 'https://git.example.org/app.git/'", "scm-auth"),
    ("fatal: couldn't find remote ref refs/heads/relase", "scm-config"),
    ("Host key verification failed.", "scm-auth"),
    ("write error: No space left on device", "disk-full"),
    ("java.lang.OutOfMemoryError: Java heap space", "out-of-memory"),
    ("hudson.remoting.ChannelClosedException: Channel \"agent-3\": Remote call failed", "agent"),
    ("There are no nodes with the label ‘gpu’", "agent"),
    ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", "container"),
    ("Error response from daemon: pull access denied for acme/app, repository does not exist", "container"),
    ("script.sh.copy: line 1: kubectl: command not found", "missing-tool"),
    ("'gradle' is not recognized as an internal or external command,", "missing-tool"),
    ("Tool type \"maven\" does not have an install of \"M3\" configured - did you mean \"M2\"?", "missing-tool"),
    ("error: No signing certificate \"iOS Distribution\" found", "credentials"),
    ("curl: (6) Could not resolve host: repo.example.org", "network"),
    ("PKIX path building failed: unable to find valid certification path to requested target", "network"),
    ("[ERROR] Failed to execute goal: Could not resolve dependencies for project org.x:y:jar:1.0", "dependency"),
    ("npm ERR! code ERESOLVE", "dependency"),
    ("ModuleNotFoundError: No module named 'yaml'", "dependency"),
    ("[ERROR] COMPILATION ERROR : ", "compile"),
    ("[ERROR] Tests run: 12, Failures: 2, Errors: 0, Skipped: 0", "test"),
    ("ERROR: Pipeline aborted due to quality gate failure: ERROR", "quality-gate"),
    ("Cancelling nested steps due to timeout", "timeout"),
    ("Aborted by Ada Lovelace", "aborted"),
    ("ERROR: No artifacts found that match the file pattern \"target/*.jar\". Configuration error?", "artifact"),
    ("ERROR: script returned exit code 2", "script"),
]  # fmt: skip
SECRETS = [
    ("password=Tr0ub4dor&3x", "Tr0ub4dor"),
    ("export AWS_SECRET_ACCESS_KEY='wJalrXUtnFEMI/K7MDENG+bPxRfiCY'", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"),
    ("Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789abcdef"),
    ("curl -u deploy:s3cr3tpass https://nexus.example.org", "s3cr3tpass"),
    ("docker login -u ci -p hunter22 registry.example.org", "hunter22"),
    ("git clone https://ci:glpat-abcdefghij0123456789@gitlab.example.org/a.git", "glpat-abcdefghij0123456789"),
    ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789 used", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJhbGciOiJIUzI1NiJ9"),
    ("GET /f?X-Amz-Signature=0123456789abcdef0123 200", "0123456789abcdef0123"),
    ("--api-key 9f8e7d6c5b4a", "9f8e7d6c5b4a"),
    ('"client_secret": "qwertz-4711-yxcv"', "qwertz-4711-yxcv"),
    ("mysql -u root -pS3same! db", "S3same!"),
    ("jenkins API 11aabbccddeeff00112233445566778899 ok", "11aabbccddeeff00112233445566778899"),
]


def diagnosed(log: bytes, block: int = 65536) -> LogFindings:
    console, masker = ConsoleLines(), Masker()
    digest = LogDigest(masker)
    for start in range(0, len(log), block):
        for line in console.feed(log[start : start + block]):
            digest.read(line)
    for line in console.finish():
        digest.read(line)
    return digest.findings(console.lines, console.size_bytes)


class TestReading:
    def test_notes_colours_and_time_stamps_go(self) -> None:
        line = f"[2025-02-28T01:07:20.283Z] {NOTE}\x1b[31mERROR\x1b[0m: it\u200b broke\r\n"
        assert plain_text(line) == "ERROR: it broke"
        assert plain_text("  1 %\r 50 %\r100 % done") == "100 % done"
        assert plain_text("12:01:02  + make") == "+ make"

    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 400), st.booleans())
    def test_blocks_do_not_matter(self, block: int, packed: bool) -> None:
        plain = (NOTE + STAGES).encode()
        log = gzip.compress(plain[:300]) + gzip.compress(plain[300:]) if packed else plain
        found = diagnosed(log, block)
        assert found == diagnosed(plain)
        assert found.lines == plain.count(b"\n")

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.text(st.characters(blacklist_characters="\n"), max_size=40), min_size=1, max_size=30))
    def test_line_numbers_are_those_of_the_file(self, texts: list[str]) -> None:
        log = "\n".join([*texts, "Host key verification failed."]).encode("utf-8", "surrogatepass")
        found = diagnosed(log, 7)
        if found.rule == "host-key":
            assert found.evidence[-1].line <= len(texts) + 1
            assert any(line.line == len(texts) + 1 for line in found.evidence)

    def test_damaged_and_endless_logs_are_refused(self) -> None:
        with pytest.raises(LogUnreadable, match="damaged"):
            diagnosed(b"\x1f\x8b\x08\x00" + b"x" * 100)
        with pytest.raises(LogUnreadable, match="ends before"):
            diagnosed(gzip.compress(b"text\n" * 100)[:-20])
        bomb = gzip.compress(b"x" * (210 * 1024 * 1024), 1)
        assert len(bomb) < 2 * 1024 * 1024
        with pytest.raises(BodyTooLarge, match="Unpacked"):
            for _ in ConsoleLines().feed(bomb):
                pass

    def test_memory_does_not_grow_with_the_log(self) -> None:
        block = (STAGES.replace("Finished: FAILURE\n", "") * 10).encode()
        console, masker = ConsoleLines(), Masker()
        digest = LogDigest(masker)
        peaks = []
        tracemalloc.start()
        try:
            for _ in range(2):
                for _ in range(8):
                    for line in console.feed(block):
                        digest.read(line)
                peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert peaks[1] < peaks[0] * 1.2
        assert console.size_bytes == 16 * len(block)


class TestRules:
    def test_every_rule_is_whole(self) -> None:
        assert len({rule.name for rule in rules()}) == len(rules()) > 40
        for rule in rules():
            assert rule.fix and rule.cause and all(needle == needle.lower() for needle in rule.needles), rule.name

    @pytest.mark.parametrize(("line", "kind"), LINES)
    def test_line_is_classified(self, line: str, kind: str) -> None:
        found = diagnosed(f"[Pipeline] {{ (Test)\nsome output\n{line}\nFinished: FAILURE\n".encode())
        assert found.failure_type == kind
        assert found.failing_stage == "Test" and found.result == "FAILURE"
        assert "{" not in found.cause and not any("{what}" in step for step in found.fix)
        assert [item.line for item in found.evidence if item.line == 3] == [3]

    def test_specific_line_in_the_failing_stage_wins(self) -> None:
        found = diagnosed(STAGES.encode())
        assert (found.failure_type, found.failing_stage, found.confidence) == ("missing-tool", "Build", "high")
        assert "`mvn`" in found.cause
        assert found.evidence[0].line == 15 and found.evidence[0].stage == "Build"

    def test_parallel_branches_are_stages(self) -> None:
        log = (
            "[Pipeline] { (Branch: linux)\n[Pipeline] { (Branch: windows)\n[linux] ok\n"
            "[windows] Host key verification failed.\nFailed in branch windows\nFinished: FAILURE\n"
        )
        assert diagnosed(log.encode()).failing_stage == "windows"

    def test_a_good_build_has_no_failure(self) -> None:
        found = diagnosed(b"ERROR: tried twice\nFinished: SUCCESS\n")
        assert (found.failure_type, found.evidence, found.fix) == ("none", (), ())

    def test_an_unknown_failure_shows_its_lines(self) -> None:
        found = diagnosed(b"step one\nthe flux capacitor could not be charged\nFinished: FAILURE\n")
        assert (found.failure_type, found.confidence) == ("unknown", "low")
        assert "flux" in " ".join(line.text for line in found.evidence)


class TestMasking:
    @pytest.mark.parametrize(("line", "secret"), SECRETS)
    def test_secrets_go(self, line: str, secret: str) -> None:
        masker = Masker()
        assert masker.notice(line) is False
        masked = masker.masked(line)
        assert secret not in masked and "[SECRET-1]" in masked
        assert secret not in masker.restored(masked)

    def test_transformed_and_later_secrets_go(self) -> None:
        masker = Masker()
        masker.notice("DB_PASSWORD=corr3ct/horse")
        encoded = base64.b64encode(b"corr3ct/horse").decode()
        masked = masker.masked(f"using corr3ct/horse and {encoded} and corr3ct%2Fhorse")
        assert masked.count("[SECRET-1]") == 3

    def test_a_private_key_is_left_out_as_a_whole(self) -> None:
        masker = Masker()
        key = ["-----BEGIN OPENSSH PRIVATE KEY-----", "b3BlbnNzaC1rZXktdjEAAAAA", "-----END OPENSSH PRIVATE KEY-----"]
        assert [masker.notice(line) for line in [*key, "after"]] == [True, True, True, False]

    @settings(max_examples=40, deadline=None)
    @given(st.text(max_size=60))
    def test_personal_data_comes_back(self, text: str) -> None:
        masker = Masker()
        line = f"{text} /home/ada/x 10.1.2.3 mail ada.lovelace@example.org"
        masked = masker.masked(line)
        assert "ada.lovelace@example.org" not in masked and "10.1.2.3" not in masked and "/home/ada/" not in masked
        if "[" not in text:
            assert masker.restored(masked) == line

    @pytest.mark.parametrize(
        "line",
        ["Credentials not found", "password: ****", "withCredentials([string(credentialsId: 'nexus')])",
         "No credentials specified", "using credential github-app", "[INFO] Finished at: 12:00", "version 1.2.3.4.5"],
    )  # fmt: skip
    def test_ordinary_lines_stay(self, line: str) -> None:
        masker = Masker()
        masker.notice(line)
        assert "SECRET" not in masker.masked(line)


class TestRoute:
    def test_diagnosis_with_citations(self, gateway, engine) -> None:
        engine.say = "Update plugins one at a time, and read the changelog of each plugin first."
        log = (
            "[Pipeline] { (Build)\nUsing the username and password binding\n"
            "java.lang.NoSuchMethodError: hudson.Util.x\nFinished: FAILURE\n"
        )
        response = gateway.post("/v1/diagnose", content=log.encode(), headers={"Content-Type": "text/plain"})
        found = Diagnosis.model_validate(response.raise_for_status().json())
        assert found.findings.rule == "plugin-missing" and found.findings.evidence[0].line == 3
        assert response.headers["x-jeeves-rung"] == found.rung
        assert found.explanation and found.citations and found.index_id
        assert gateway.get(f"/v1/responses/{found.id}/lineage").json()["index_id"] == found.index_id

    def test_a_sure_rule_stands_beside_quotations_only(self, gateway, engine) -> None:
        engine.say = "Update plugins one at a time, or buy a new computer."
        log = b'error: No signing certificate "iOS Distribution" found\nFinished: FAILURE\n'
        found = Diagnosis.model_validate(gateway.post("/v1/diagnose", content=log).raise_for_status().json())
        assert found.findings.confidence == "high" and engine.requests == []
        assert found.rung == "extractive" and found.reasons == ("rule-is-sure",)
        assert "secret file" in found.explanation and found.citations[0].source_path == "test/credentials.md"

    def test_beside_a_sure_rule_no_model_is_asked_when_nothing_can_be_quoted(self, gateway, engine) -> None:
        body = {"reason": "drill", "until": "2999-01-01T00:00:00Z"}
        gateway.put("/v1/admin/switches/retrieval", json=body).raise_for_status()
        log = b'error: No signing certificate "iOS Distribution" found\nFinished: FAILURE\n'
        found = Diagnosis.model_validate(gateway.post("/v1/diagnose", content=log).raise_for_status().json())
        assert found.findings.confidence == "high" and found.findings.fix
        assert (found.explanation, found.citations, engine.requests) == ("", (), [])

    def test_model_never_sees_secrets_and_preview_is_what_it_sees(self, gateway, engine) -> None:
        unsure = STAGES.replace(
            "/srv/run.sh: line 3: mvn: command not found", "java.lang.NoSuchMethodError: hudson.X.y"
        )
        preview = DiagnosisPreview.model_validate(
            gateway.post("/v1/diagnose", params={"preview": True}, content=unsure.encode()).json()
        )
        assert engine.requests == [] and preview.findings.confidence == "medium"
        gateway.post("/v1/diagnose", content=unsure.encode()).raise_for_status()
        [asked] = engine.requests
        sent = asked["messages"]
        assert sent == [message.model_dump() for message in preview.messages]
        everything = json.dumps(sent) + preview.model_dump_json()
        for secret in ("hunter2-s3cret", "tk-93hf83hf83", "Ada Lovelace", "/home/ada"):
            assert secret not in everything

    def test_forms_gzip_and_builds_give_the_same(self, start_gateway, serve) -> None:
        asked: list[Request] = []

        async def console(request: Request) -> PlainTextResponse | RedirectResponse:
            asked.append(request)
            return RedirectResponse("/x") if request.path_params["number"] == 9 else PlainTextResponse(STAGES)

        app = Starlette(routes=[Route("/ci/job/app/{number:int}/consoleText", console)])
        with (
            serve(app) as url,
            start_gateway(
                gateway_jenkins_url=f"{url}/ci", gateway_jenkins_user="ci", gateway_jenkins_token="0123456789"
            ) as gateway,
        ):

            def findings(**how: object) -> dict:
                return gateway.post("/v1/diagnose", **how).raise_for_status().json()["findings"]

            plain = findings(content=STAGES.encode())
            assert plain["failure_type"] == "missing-tool"
            assert findings(content=gzip.compress(STAGES.encode())) == plain
            assert findings(files={"note": (None, "x"), "file": ("log", STAGES.encode())}, data={"a": "b"}) == plain
            assert findings(json={"build_url": f"{url}/ci/job/app/7/"}) == plain
            assert asked[0].headers["authorization"].startswith("Basic ")
            for address in (f"{url}/other/job/app/7/", "http://169.254.169.254/ci/job/app/1/", f"{url}/ci/job/../../x"):
                assert gateway.post("/v1/diagnose", json={"build_url": address}).status_code == 400
            assert gateway.post("/v1/diagnose", json={"build_url": f"{url}/ci/job/app/9/"}).status_code == 502
            assert len(asked) == 2

    def test_works_without_engine_and_without_index(self, start_gateway, engine) -> None:
        engine.behave = "refuse"
        with start_gateway() as gateway:
            found = gateway.post("/v1/diagnose", content=STAGES.encode()).json()
            assert found["rung"] == "extractive" and found["findings"]["failure_type"] == "missing-tool"
        with start_gateway(serve_index=False) as gateway:
            client = gateway.post("/v1/diagnose", content=STAGES.encode())
            found = client.raise_for_status().json()
            assert found["findings"]["fix"] and found["rung"] == "extractive"

    @pytest.mark.parametrize(
        ("how", "status"),
        [
            ({"content": b""}, 422),
            ({"content": b"\x1f\x8bxxxxxxxxxxxx"}, 422),
            ({"json": {"log": "x"}}, 400),
            ({"json": {"build_url": "http://127.0.0.1/job/x/1"}}, 400),
            ({"data": {"a": "b"}, "files": {"b": (None, "c")}}, 422),
            ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 422),
        ],
    )
    def test_bad_bodies_have_typed_errors(self, gateway, how: dict, status: int) -> None:
        response = gateway.post("/v1/diagnose", **how)
        assert response.status_code == status

    def test_an_announced_body_that_is_too_long_is_not_read(self, gateway) -> None:
        connection = http.client.HTTPConnection(gateway.base_url.host, gateway.base_url.port, timeout=10)
        connection.putrequest("POST", "/v1/diagnose")
        connection.putheader("Content-Length", str(60 * 1024 * 1024))
        connection.endheaders(b"x" * 1000)
        assert connection.getresponse().status == 413
        connection.close()

    def test_scope_is_needed(self, gateway) -> None:
        key = gateway.post("/v1/admin/keys", json={"name": "x", "scopes": ["chat"]}).json()["key"]
        headers = {"X-Forwarded-For": "203.0.113.9", "Authorization": f"Bearer {key}"}
        assert gateway.post("/v1/diagnose", content=b"x", headers=headers).status_code == 403


@pytest.mark.corpora
def test_suite_of_real_logs(corpora: Path, gateway, engine) -> None:
    """The expectations of the suite format, on the real logs; the engine is down: rules and quotations only."""
    engine.behave = "refuse"
    suite = corpora.parent / "suite-format" / "logs.jsonl"
    rows = [json.loads(line) for line in suite.read_text("utf-8").splitlines()]
    assert len(rows) >= 4
    for row in rows:
        body = gateway.post("/v1/diagnose", content=(corpora / row["log_path"]).read_bytes()).raise_for_status().json()
        said = json.dumps([body["findings"], body["explanation"]], ensure_ascii=False)
        assert body["findings"]["failure_type"] == row["failure_type"]
        assert body["findings"]["confidence"] == "high"
        assert all(any(word in said for word in group) for group in row["must_mention_any"]), row["id"]
        assert not any(word in said for word in row["must_not_claim"])
        lines = (corpora / row["log_path"]).read_text("utf-8", "replace").split("\n")
        for line in body["findings"]["evidence"]:
            assert line["text"].strip() in plain_text(lines[line["line"] - 1])
