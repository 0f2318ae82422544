"""Trainer: from a recipe to a quantized model that is proven better.

| module | what | runs in |
|---|---|---|
| `app`, `api`, `settings` | the HTTP process: jobs, model versions, reports | service |
| `registry` | model versions, their aliases, the audit trail, in SQL | service, job |
| `layout` | where things lie in the data folder | job |
| `trainings` | job: recipe + data set → adapter, merged BF16 GGUF | job |
| `base_models`, `tokenizers` | the base model as a Hugging Face folder and as BF16 GGUF | job |
| `plans`, `memory` | job: would a training run, and would it fit? | job |
| `four_bit`, `out_of_memory` | QLoRA's base; stepping down where memory runs out | job |
| `stages`, `samples`, `stage_samples`, `rendering` | what a stage learns from | job |
| `layouts`, `batches` | which samples share a micro batch, and how they become tensors | job |
| `tuning`, `loading`, `objectives`, `loss`, `checkpoints` | the training itself | job |
| `gradient_check`, `progress`, `speed` | what is checked before it, and told about it | job |
| `ranks`, `standalone` | a training in several processes; without the service | own |
| `tracking` | tells an MLflow server what was trained and what is champion | both |
| `lineage` | the weights that a stage starts from | job |
| `merging`, `kept`, `conversion`, `gguf_files` | adapter into weights, weights into GGUF, names and metadata | job |
| `importance`, `importance_file` | how much each input of a weight matters, for types of few bits | job |
| `quantizations`, `libllama` | job: BF16 GGUF → quantized files, registered as a candidate | job |
| `evaluations`, `answer_loss`, `generation`, `scoring`, `bootstrap`, `gate` | job: is the file better? | job |
| `round_trip` | does a quantized file still say what BF16 says? | job |
| `exams`, `exam_prompts` | job: multiple choice by log-likelihood | job |
| `card`, `curve_picture` | a model version as Markdown and as a page | service |
| `report` | an evaluation as Markdown and as JUnit XML | service |

torch and its family, numpy and llama_cpp are imported in the jobs' processes only.
"""
