"""File names and steps."""

import re

from jeeves_trainer.gguf_files import gguf_file_name
from jeeves_trainer.progress import duration_text, evaluation_steps

# Source: ggml's docs/gguf.md, "Validating Above Naming Convention".
GGUF_NAME = re.compile(
    r"^(?P<BaseName>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))-"
    r"(?:(?P<SizeLabel>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)"
    r"(?:-(?P<FineTune>[A-Za-z0-9\s-]+))?)?-(?:(?P<Version>v\d+(?:\.\d+)*))"
    r"(?:-(?P<Encoding>(?!LoRA|vocab)[\w_]+))?(?:-(?P<Type>LoRA|vocab))?(?:-(?P<Shard>\d{5}-of-\d{5}))?\.gguf$"
)


def test_file_names_follow_the_specification():
    name = gguf_file_name("SmolLM2-135M-Instruct", 3, "Q4_K_M", tuned=True)
    assert name == "SmolLM2-135M-Instruct-jeeves-v3-Q4_K_M.gguf"
    parts = GGUF_NAME.match(name)
    assert parts and parts["SizeLabel"] == "135M" and parts["Version"] == "v3" and parts["Encoding"] == "Q4_K_M"
    assert gguf_file_name("SmolLM2-135M-Instruct", 0, "Q8_0", tuned=False) == "SmolLM2-135M-Instruct-v0-Q8_0.gguf"
    assert gguf_file_name("own/model name", 1, "Q8_0", tuned=True) == "own-model-name-jeeves-v1-Q8_0.gguf"


def test_evaluations_are_spread_and_the_last_step_is_one():
    assert evaluation_steps(74, 4) == {18, 37, 56, 74}
    assert evaluation_steps(2, 6) == {1, 2}
    assert evaluation_steps(1, 1) == {1}
    assert duration_text(44.6) == "45 s"
    assert duration_text(150) == "2 min"
