"""Trainer: from a recipe to a quantized model that is proven better.

| module | what | runs in |
|---|---|---|
| `app`, `api`, `settings` | the HTTP process: jobs, model versions, reports | service |
| `registry` | model versions, their aliases, the audit trail, in SQL | service, job |
| `layout` | where things lie in the data folder | job |
| `trainings` | job: recipe + data set → adapter, merged BF16 GGUF | job |
| `base_models`, `tokenizers` | the base model as a Hugging Face folder and as BF16 GGUF | job |
| `rendering`, `batches`, `loss`, `sft`, `gradient_check`, `checkpoints`, `progress` | the training itself | job |
| `merging`, `conversion`, `gguf_files` | adapter into weights, weights into GGUF, names and metadata | job |
| `quantizations`, `libllama` | job: BF16 GGUF → quantized files, registered as a candidate | job |
| `evaluations`, `answer_loss`, `generation`, `scoring`, `bootstrap`, `gate` | job: is the file better? | job |
| `report` | an evaluation as Markdown and as JUnit XML | service |

torch and its family, numpy and llama_cpp are imported in the jobs' processes only.
"""
