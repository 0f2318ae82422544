"""`jeeves evaluate --suite`: a user's own cases, put to the running gateway and scored.

| module | what |
|---|---|
| `cases` | reading the files: four kinds of lines, every mistake with its line |
| `asking` | HTTP to the gateway, patient where it says when to come back |
| `log_lines` | the telling lines of a console log, for a gateway that cannot diagnose |
| `scoring` | one answer against its case |
| `judge` | a judge model, calibrated against labelled answers |
| `figures` | means per kind and category, with bootstrap intervals |
| `running` | the whole |
"""
