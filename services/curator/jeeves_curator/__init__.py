"""The curator: collections become search indexes, and training and evaluation sets.

| module | what |
|---|---|
| `app` | the service |
| `indexes`, `datasets` | the two jobs |
| `documents` | what documents go through before that; its own job `curations` |
| `cluster` | the part of it that looks at single documents, through datatrove |
| `redaction` | secrets and personal data out |
| `sections` | documents into sections |
| `steps` | one class per reason to drop a pair |
| `duplicates` | exact and near duplicates (MinHash-LSH) |
| `support` | the section that supports an answer, its key terms |
| `derive` | pairs from headings, without a teacher |
| `threads` | pairs from question sites: accepted or best answers only |
| `tasks`, `pipelines` | pairs on Jenkinsfiles and logs, checked by the validator, without a teacher |
| `teacher` | pairs proposed by a model behind an OpenAI-compatible address |
| `split`, `leakage` | training and evaluation documents and threads, and what must not pass between them |
| `samples` | pairs with the passages of their prompt |
| `preferences`, `texts` | two answers to one prompt; documents as text for continued pre-training |
| `exports` | the rows in the forms of other programs |
| `quality` | how much a paragraph tells; labels and weights in `data` |
| `card`, `card_forms` | the data set card, as Markdown and HTML |
| `reviews` | what people look at: the review list, paragraphs to label |
| `fit` | fits the weights of the quality score |
| `shards` | reading collections, writing artifacts |
"""
