"""The Declarative runner itself: what each directive does when it is executed."""

import threading
from pathlib import Path
from typing import Any

import pytest
from declarative_runner import DeclarativeRunner, Event, Finished

BUSY = """
pipeline {
    agent none
    parameters {
        string(name: 'WHO', defaultValue: 'world', description: '')
        booleanParam(name: 'DEPLOY', defaultValue: false, description: '')
        choice(name: 'KIND', choices: ['small', 'big'], description: '')
    }
    options {
        preserveStashes()
        timeout(time: 5, unit: 'MINUTES')
    }
    environment {
        GREETING = "hello ${params.WHO}"
        KEY = credentials('key')
    }
    stages {
        stage('Prepare') {
            agent { label 'cpu' }
            steps {
                sh 'echo "$GREETING, $KIND" > greeting.txt && echo "the key is $KEY" && test "$WHO" = world'
                script {
                    def answer = sh(script: 'cat greeting.txt', returnStdout: true).trim()
                    env.ANSWER = answer.toUpperCase()
                    int code = sh(script: 'exit 7', returnStatus: true)
                    echo "code ${code}"
                }
                stash name: 'greeting', includes: '*.txt'
            }
        }
        stage('Together') {
            parallel {
                stage('Left') {
                    agent { label 'cpu && big' }
                    steps {
                        unstash 'greeting'
                        sh 'cat greeting.txt'
                        withCredentials([
                            usernamePassword(credentialsId: 'login', usernameVariable: 'U', passwordVariable: 'P')
                        ]) {
                            sh 'echo "$U:$P"'
                        }
                    }
                }
                stage('Right') {
                    agent any
                    steps {
                        retry(3) {
                            sh 'echo x >> tries.txt; test $(wc -l < tries.txt) -eq 3'
                        }
                        catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE') {
                            error 'known'
                        }
                    }
                }
            }
        }
        stage('Grid') {
            matrix {
                agent any
                axes {
                    axis {
                        name 'TYPE'
                        values 'Q8_0', 'Q4_K_M'
                    }
                    axis {
                        name 'SUITE'
                        values 'a', 'b'
                    }
                }
                excludes {
                    exclude {
                        axis {
                            name 'TYPE'
                            values 'Q4_K_M'
                        }
                        axis {
                            name 'SUITE'
                            values 'b'
                        }
                    }
                }
                stages {
                    stage('Cell') {
                        steps {
                            sh 'echo "cell $TYPE-$SUITE"'
                        }
                    }
                }
            }
        }
        stage('Deploy') {
            when {
                beforeAgent true
                allOf {
                    expression { params.DEPLOY }
                    not { environment name: 'KIND', value: 'big' }
                }
            }
            input {
                message 'Really?'
                submitterParameter 'WHO_SAID'
            }
            agent any
            steps {
                echo "approved by ${WHO_SAID}, ${env.ANSWER}"
            }
        }
    }
    post {
        always {
            echo "ended as ${currentBuild.currentResult}"
        }
        success {
            echo 'well'
        }
        failure {
            echo 'badly'
        }
        aborted {
            echo 'stopped'
        }
    }
}
"""

AGENTS = [{"name": "one", "labels": ["cpu"]}, {"name": "two", "labels": ["cpu", "big"]}]
CREDENTIALS = {"key": "s3cr3t-key", "login": "ann:pa55word"}


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    path = tmp_path / "Jenkinsfile"
    path.write_text(BUSY, encoding="utf-8")
    return path


def _run(runner: DeclarativeRunner, file: Path, **spec: Any) -> Finished:
    return runner.run(
        file, file.parent / f"state{spec.get('number', 1)}", agents=AGENTS, credentials=CREDENTIALS, **spec
    )


def test_a_build_with_all_directives(runner: DeclarativeRunner, busy: Path) -> None:
    build = _run(runner, busy, params={"DEPLOY": True}, inputs={"Deploy": {"action": "proceed", "by": "ann"}})
    assert build.result == "SUCCESS", build.log
    assert build.stages() == {
        "Prepare": "SUCCESS",
        "Together": "UNSTABLE",
        "Together / Left": "SUCCESS",
        "Together / Right": "UNSTABLE",
        "Grid": "SUCCESS",
        **{
            f"Grid / Matrix - TYPE = '{kind}', SUITE = '{suite}'{cell}": "SUCCESS"
            for kind, suite in (("Q8_0", "a"), ("Q8_0", "b"), ("Q4_K_M", "a"))
            for cell in ("", " / Cell")
        },
        "Deploy": "SUCCESS",
    }
    assert "code 7" in build.log
    assert "the key is ****" in build.log
    assert "ann:****" in build.log
    assert not any(secret in build.log for secret in ("s3cr3t-key", "pa55word"))
    assert {line for line in build.log.splitlines() if line.startswith("cell ")} == {
        "cell Q8_0-a", "cell Q8_0-b", "cell Q4_K_M-a",
    }  # fmt: skip
    assert "approved by ann, HELLO WORLD, SMALL" in build.log
    assert build.post() == ["always", "success"]
    agents = {tuple(event["stage"]): event["name"] for event in build.named("agent")}
    assert agents["Together", "Left"] == "two"


def test_a_condition_that_is_false_and_a_failure(runner: DeclarativeRunner, busy: Path) -> None:
    build = _run(runner, busy, params={"WHO": "nobody"})
    assert build.result == "FAILURE"
    assert "script returned exit code 1" in build.log
    assert build.skipped() == dict.fromkeys(("Together", "Grid", "Deploy"), "an earlier failure")
    assert build.post() == ["always", "failure"]
    again = _run(runner, busy, number=2, inputs={})
    assert again.result == "SUCCESS"
    assert again.skipped() == {"Deploy": "its condition"}


def test_a_rejected_input_aborts(runner: DeclarativeRunner, busy: Path) -> None:
    def reject(event: Event, send: Any) -> None:
        if event["event"] == "input":
            send(answer="Deploy", action="abort", by="bob")

    build = _run(runner, busy, params={"DEPLOY": True}, react=reject)
    assert build.result == "ABORTED"
    assert "Rejected by bob" in build.log
    assert build.post() == ["always", "aborted"]


SLOW = """
pipeline {
    agent { label 'cpu' }
    options {
        preserveStashes()
    }
    stages {
        stage('First') {
            steps {
                sh 'echo made > made.txt'
                stash name: 'made', includes: 'made.txt'
            }
        }
        stage('Second') {
            agent { label 'gpu' }
            steps {
                unstash 'made'
                sh '''cat made.txt
                    if [ -e ../../hurry ]; then exit 0; fi
                    echo going; sleep 300 & echo $! > ../../child; wait'''
            }
            post {
                aborted {
                    echo 'the stage was stopped'
                }
            }
        }
    }
    post {
        always {
            sh 'echo the post runs'
        }
    }
}
"""
SLOW_AGENTS = [{"name": "one", "labels": ["cpu"]}, {"name": "fast", "labels": ["gpu"]}]


@pytest.mark.parametrize(
    ("command", "result", "message"),
    [({"abort": True}, "ABORTED", "the stage was stopped"), ({"lose": "fast"}, "FAILURE", "Agent fast was lost")],
)
def test_an_abort_or_a_lost_agent_ends_the_step_and_what_it_started(
    command: dict[str, Any], result: str, message: str, runner: DeclarativeRunner, tmp_path: Path
) -> None:
    file = tmp_path / "Jenkinsfile"
    file.write_text(SLOW, encoding="utf-8")
    sent = threading.Event()

    def react(event: Event, send: Any) -> None:
        if event.get("line") == "going" and not sent.is_set():
            while not (tmp_path / "state" / "child").exists():
                pass
            sent.set()
            send(**command)

    build = runner.run(file, tmp_path / "state", agents=SLOW_AGENTS, react=react)
    assert build.result == result, build.log
    assert message in build.log
    assert "the post runs" in build.log
    child = int((tmp_path / "state" / "child").read_text(encoding="utf-8"))
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or " Z " in status.read_text(encoding="utf-8")

    (tmp_path / "state" / "hurry").touch()
    restarted = runner.run(file, tmp_path / "state", agents=SLOW_AGENTS, restartFrom="Second", number=2)
    assert restarted.result == "SUCCESS", restarted.log
    assert restarted.skipped() == {"First": "the restart"}
    assert "made" in restarted.log.splitlines()
