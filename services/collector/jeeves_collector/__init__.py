"""The collector: brings knowledge in as documents with provenance, and pairs of questions and answers.

| module | what |
|---|---|
| `app`, `api`, `settings`, `metrics` | the HTTP process |
| `jobs`, `publishing` | a collection, in a process of its own; from the ledger to shards and manifest |
| `ledger` | what each source gave, and where an unfinished run stands |
| `sources` | the sources, all of one protocol; `workplace` is what they may use |
| `outgoing` | the one way to other hosts |
| `tree`, `git`, `walk`, `archives` | folders, repositories and archives of AsciiDoc and Markdown |
| `pairs` | questions and answers from JSON Lines and CSV |
| `html`, `plain_html` | HTML to Markdown |
| `parallel`, `locks` | several processes for one job; one job for each source |
| `antora`, `addresses` | where a document stands in its site: resources, navigation, public address |
| `asciidoc` | AsciiDoc to Markdown |
| `markdown`, `encoding` | reading Markdown; bytes to text |
| `state`, `drops` | conversions that are remembered; why an item was left out |
"""

__version__ = "0.1.0"
