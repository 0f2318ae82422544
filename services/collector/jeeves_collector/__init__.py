"""The collector: brings knowledge in as documents with provenance, and pairs of questions and answers.

| module | what |
|---|---|
| `app`, `api`, `settings`, `metrics` | the HTTP process |
| `jobs` | a collection, in a process of its own |
| `tree`, `git`, `walk` | source `tree`: a folder or git address of AsciiDoc and Markdown |
| `pairs` | source `pairs`: questions and answers from JSON Lines and CSV |
| `antora`, `addresses` | where a document stands in its site: resources, navigation, public address |
| `asciidoc` | AsciiDoc to Markdown |
| `markdown`, `encoding` | reading Markdown; bytes to text |
| `state`, `drops` | what is remembered between runs; why an item was left out |
"""

__version__ = "0.1.0"
