"""The curator: collections become search indexes, and training and evaluation sets.

| module | what |
|---|---|
| `app` | the service |
| `indexes`, `datasets` | the two jobs |
| `sections` | documents into sections |
| `steps` | one class per reason to drop a pair |
| `duplicates` | exact and near duplicates (MinHash-LSH) |
| `support` | the section that supports an answer, its key terms |
| `derive` | pairs from headings, without a teacher |
| `split` | training and evaluation documents, leakage |
| `samples` | pairs with the passages of their prompt |
| `card` | the data set card |
| `shards` | reading collections, writing artifacts |
"""
