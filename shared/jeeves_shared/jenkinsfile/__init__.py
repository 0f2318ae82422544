"""Jenkinsfiles: Groovy's syntax tree, the rules of Declarative Pipeline, and what they find."""

from jeeves_shared.jenkinsfile.catalog import Catalog, catalog_for, full_catalog, plugins_of
from jeeves_shared.jenkinsfile.findings import Finding, Severity, Style, Verdict
from jeeves_shared.jenkinsfile.groovy_ast import GroovyFailed, GroovyMissing, groovy_available
from jeeves_shared.jenkinsfile.lint import JenkinsfileLinter

__all__ = [
    "Catalog",
    "Finding",
    "GroovyFailed",
    "GroovyMissing",
    "JenkinsfileLinter",
    "Severity",
    "Style",
    "Verdict",
    "catalog_for",
    "full_catalog",
    "groovy_available",
    "plugins_of",
]
