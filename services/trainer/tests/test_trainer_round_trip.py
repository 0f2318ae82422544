"""What a file says against the weights that it was made from; files that were tampered with."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from jeeves_shared.contracts.manifests import RoundTrip
from jeeves_shared.contracts.recipes import RoundTripBounds
from jeeves_shared.engine.gguf import read_gguf
from jeeves_trainer.errors import ArchitectureMismatch, RoundTripFailed, TokenizerMismatch
from jeeves_trainer.gguf_files import check_architecture, write_metadata
from jeeves_trainer.libllama import quantize_file
from jeeves_trainer.rendering import Renderer
from jeeves_trainer.round_trip import (
    ANSWER_TOKENS_MAX,
    Probe,
    Reference,
    check_bounds,
    choose_probes,
    probe_lines,
    read_probes,
)


@pytest.fixture(scope="module")
def probes(tiny_model: Path, samples) -> list[Probe]:
    renderer = Renderer(AutoTokenizer.from_pretrained(tiny_model))
    return choose_probes([renderer.render(sample) for sample in samples[:30]], 3)


@pytest.fixture(scope="module")
def telling_probe(tiny_model: Path) -> Probe:
    """A prompt that llama.cpp's default pre-tokenizer cuts otherwise than this model's: two line breaks, a digit."""
    text = "<|im_start|>user\nHow do I use it?\n\n1. one<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return Probe(text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"]), (2,))


@pytest.fixture(scope="module")
def reference(tiny_gguf: Path, probes: list[Probe]) -> Reference:
    return Reference(tiny_gguf, probes, 1, lambda: None)


def test_the_same_file_does_not_differ(reference: Reference, tiny_gguf: Path):
    found = reference.compare(tiny_gguf)
    assert found.mean_kl_divergence == pytest.approx(0, abs=1e-6)
    assert (found.greedy_agreement, found.perplexity) == (1.0, found.reference_perplexity)
    check_bounds(found, "BF16", RoundTripBounds(), "x")


def test_fewer_bits_differ_more_and_a_bound_stops_them(reference: Reference, tiny_gguf: Path, tmp_path: Path):
    found = {}
    for encoding in ("Q8_0", "Q4_0"):
        quantize_file(tiny_gguf, tmp_path / encoding, encoding, 1)
        found[encoding] = reference.compare(tmp_path / encoding)
    assert 0 < found["Q8_0"].mean_kl_divergence < found["Q4_0"].mean_kl_divergence / 10
    assert found["Q8_0"].greedy_agreement > found["Q4_0"].greedy_agreement
    check_bounds(found["Q8_0"], "Q8_0", RoundTripBounds(), "x")
    strict = RoundTripBounds(kl_divergence_max={"Q8_0": 1e-9}, perplexity_change_max={"Q8_0": -0.5})
    with pytest.raises(RoundTripFailed, match="KL divergence") as caught:
        check_bounds(found["Q8_0"], "Q8_0", strict, "x")
    assert len(caught.value.errors) == 2


def test_a_figure_that_is_no_number_does_not_pass():
    broken = RoundTrip.model_construct(
        probes=1,
        positions=1,
        mean_kl_divergence=float("nan"),
        greedy_agreement=0.0,
        perplexity=float("nan"),
        reference_perplexity=2.0,
    )
    with pytest.raises(RoundTripFailed):
        check_bounds(broken, "Q8_0", RoundTripBounds(), "x")


def test_another_tokenizer_is_refused(telling_probe: Probe, tiny_gguf: Path, tmp_path: Path):
    reference = Reference(tiny_gguf, [telling_probe], 1, lambda: None)
    changed = tmp_path / "changed.gguf"
    write_metadata(tiny_gguf, changed, {"tokenizer.ggml.pre": "default"})
    with pytest.raises(TokenizerMismatch, match="other tokens"):
        reference.compare(changed)


def test_another_architecture_is_refused(tiny_gguf: Path, base_gguf: Path):
    check_architecture(tiny_gguf, read_gguf(base_gguf).architecture)
    with pytest.raises(ArchitectureMismatch, match="trained was qwen2"):
        check_architecture(tiny_gguf, "qwen2")


def test_probes_survive_their_file(probes: list[Probe]):
    assert read_probes(probe_lines(probes)) == probes
    assert all(0 < len(probe.answer_ids) <= ANSWER_TOKENS_MAX for probe in probes)
