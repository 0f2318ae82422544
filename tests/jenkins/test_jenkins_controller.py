"""What brings up a controller: plugins, Configuration as Code, job definitions, and the script that tries it all."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # of our own making

import jsonschema
import pytest
import yaml

from jeeves_shared.jenkinsfile.groovy_ast import GroovyParser, groovy_available

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "jenkins"
SCHEMA = json.loads(Path(__file__).with_name("casc.schema.json").read_text(encoding="utf-8"))
# Roots below `unclassified`, the job and steps of the pipeline, by the plugin that owns them.
OWNERS = {
    "globalLibraries": "workflow-aggregator",
    "lockableResourcesManager": "lockable-resources",
    "prometheusConfiguration": "prometheus",
}


def _configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "jenkins.yaml").read_text(encoding="utf-8"))
    return loaded


def _plugins() -> dict[str, str]:
    lines = (DEPLOY / "plugins.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(":", 1) for line in lines if line and not line.startswith("#"))


def test_every_plugin_is_pinned() -> None:
    assert all(re.fullmatch(r"[0-9][\w.]*", version) for version in _plugins().values())
    assert len(_plugins()) <= 12, "a short list"


def test_the_configuration_has_the_form_of_its_plugins() -> None:
    configuration = _configuration()
    jsonschema.validate(configuration, SCHEMA)
    for root, plugin in OWNERS.items():
        assert root in configuration["unclassified"]
        assert plugin in _plugins()
    assert {"configuration-as-code", "job-dsl"} <= _plugins().keys()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c["jenkins"].update(numExecutor=2),
        lambda c: c["jenkins"]["nodes"][0]["permanent"].pop("remoteFS"),
        lambda c: c["credentials"]["system"]["domainCredentials"][0]["credentials"][0]["string"].update(secret="plain"),
        lambda c: c["unclassified"].update(prometheus={}),
    ],
)
def test_a_mistake_in_it_is_seen(spoil: Any) -> None:
    configuration = _configuration()
    spoil(configuration)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(configuration, SCHEMA)


def test_agents_credentials_and_library_are_those_that_the_pipeline_names() -> None:
    configuration = _configuration()
    text = (ROOT / "Jenkinsfile").read_text(encoding="utf-8")
    labels = {node["permanent"]["labelString"] for node in configuration["jenkins"]["nodes"]}
    assert set(re.findall(r"label '(\w+)'", text)) == labels
    stored = configuration["credentials"]["system"]["domainCredentials"][0]["credentials"]
    assert set(re.findall(r"credentials\('([\w-]+)'\)", text)) <= {entry["string"]["id"] for entry in stored}
    (library,) = configuration["unclassified"]["globalLibraries"]["libraries"]
    assert (ROOT / library["retriever"]["modernSCM"]["libraryPath"] / "vars").is_dir()
    (resource,) = configuration["unclassified"]["lockableResourcesManager"]["declaredResources"]
    assert f"lock(resource: '{resource['name']}')" in text


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for part in value.values() for key in _keys(part)}
    return {key for part in value for key in _keys(part)} if isinstance(value, list) else set()


@pytest.mark.corpora
def test_the_names_are_those_of_the_plugins_documents(corpora: Path) -> None:
    documents = [
        path.read_text(encoding="utf-8", errors="replace")
        for folder in ("plugins", "helm-charts", "docs.jenkins.io")
        for path in (corpora / folder).rglob("*")
        if path.suffix in {".md", ".adoc", ".yaml", ".yml", ".html"}
    ]
    known = {word for text in documents for word in re.findall(r"[A-Za-z]\w+", text)}
    # Of plugins whose documents are not among them: lockable-resources, prometheus, pipeline-groovy-lib.
    elsewhere = {
        *("lockableResourcesManager", "declaredResources"),
        *("prometheusConfiguration", "useAuthenticatedEndpoint", "collectingMetricsPeriodInSeconds"),
        *("libraryPath", "allowVersionOverride", "defaultVersion"),
    }
    assert _keys(_configuration()) - known <= elsewhere


def test_job_builder_renders_the_pipeline(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("jenkins-jobs"), "test", DEPLOY / "jobs.yaml", "-o", tmp_path, "--config-xml"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    flow = ElementTree.parse(tmp_path / "jeeves" / "retrain" / "config.xml").getroot()  # noqa: S314
    assert flow.tag == "flow-definition"
    definition = flow.find("definition")
    assert definition is not None
    assert definition.get("class") == "org.jenkinsci.plugins.workflow.cps.CpsScmFlowDefinition"
    assert definition.findtext("scriptPath") == "Jenkinsfile"
    folder = ElementTree.parse(tmp_path / "jeeves" / "config.xml").getroot()  # noqa: S314
    assert folder.tag == "com.cloudbees.hudson.plugins.folder.Folder"


@pytest.mark.skipif(not groovy_available(), reason="groovy is not installed: apt install groovy")
def test_the_seed_defines_the_same_job() -> None:
    with GroovyParser() as parser:
        seed = parser.parse((DEPLOY / "seed.groovy").read_text(encoding="utf-8"))
    assert not seed.faults
    jobs = {
        node.name: node.arguments[0].text
        for statement in seed.statements
        for node in statement.walk()
        if node.is_own_call and node.name in ("folder", "pipelineJob", "scriptPath")
    }
    assert jobs == {"folder": "jeeves", "pipelineJob": "jeeves/retrain", "scriptPath": "Jenkinsfile"}


def test_the_trial_is_sound_shell() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, DEPLOY / "try.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_trial_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("jeeves", "java", "docker"):
        stand_in = tmp_path / name
        stand_in.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        stand_in.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JENKINS_WAR": str(tmp_path / "none.war")}
    done = subprocess.run([DEPLOY / "try.sh"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "none.war is no file" in done.stderr
    (tmp_path / "jeeves").write_text("#!/bin/sh\nexit 4\n", encoding="utf-8")
    done = subprocess.run([DEPLOY / "try.sh"], capture_output=True, text=True, env=environment, check=False)
    assert "the services do not answer" in done.stderr
