"""Contracts between the services: pydantic and the standard library only.

| module | what | written by → read by |
|---|---|---|
| `documents` | documents, pairs, passages, samples | collector → curator → trainer, gateway |
| `manifests` | frozen results of each step | every service → every service |
| `sources` | sources of a collect recipe | people → collector |
| `collections` | how a collection came about | collector → clients |
| `feedback` | feedback that was reviewed | gateway → collector |
| `recipes`, `requests` | what to do | command line, Jenkins → services |
| `jobs`, `problems` | state and errors of long work | services → clients |
| `prompts` | the one prompt | curator, trainer, gateway |
| `plans`, `exams` | dry runs, multiple choice | command line ↔ trainer |
| `suites` | a user's own cases, and how they were answered | users → command line → pipelines |
| `answers` | answers with citations | gateway → clients |
"""
