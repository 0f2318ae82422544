"""Secrets and personal data become typed placeholders, the same one for the same value within a document.

| module | what |
|---|---|
| `forms` | secrets that are known by their form: Jenkins' own, detect-secrets' vendors, others |
| `assignments` | secrets that are known by what stands before them: `password=`, `--token`, `curl -u` |
| `examples` | what only looks like a secret: placeholders, variables, the example keys of handbooks |
| `personal` | e-mail, names in logs, addresses of machines, host names of closed networks |
| `redactor` | `Redactor`, `scan` |
"""

from jeeves_curator.redaction.redactor import REDACTION_VERSION, Redactor, scan

__all__ = ["REDACTION_VERSION", "Redactor", "scan"]
