"""Further suites of an evaluation; a recipe names those that it wants.

| module | what |
|---|---|
| `base` | what a suite is: asks a file, and turns what it said into figures |
| `multiple_choice` | exams by log-likelihood, such as general ability |
| `memorization` | training answers that come back verbatim, planted canaries |
| `jenkinsfiles` | written Jenkinsfiles before the validator of `jeeves lint` |
| `safety` | injection, template tokens, leaks of the system prompt |
| `speed` | time to first token, tokens per second, memory, per quantization |
| `running` | all suites of a recipe on all files; comparisons, conditions, answers side by side |
"""
