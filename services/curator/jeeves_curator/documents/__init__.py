"""What happens to documents before anything is indexed or learnt from them.

| module | what |
|---|---|
| `curation` | the job: reviewed shards become curated documents, drops, a review list and figures |
| `reviewed` | a shard through the steps that look at one document, kept in the store |
| `steps` | what a step is; the steps that look at one document at a time |
| `blocks` | Markdown in blocks, code fences whole |
| `normalize` | one form of text; boilerplate out |
| `rules` | heuristics on a document, and the same on each of its paragraphs |
| `poison` | injections, control tokens, invisible characters, floods |
| `copies` | exact and near duplicates over all sources; superseded versions |
| `staleness` | versions and dates, outdated terms, contradictions |
"""
