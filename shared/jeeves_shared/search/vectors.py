"""The section vectors: all of them compared while they are few, the nearest clusters of them when they are many.

Up to `DENSE_MAX` sections every vector is compared. Above, they are stored by cluster (an inverted file), and only the
`PROBES` clusters whose centres are nearest to the question are looked at.

Source: the inverted file without residuals; Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search,
2011, section 4.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from jeeves_shared.search.arrays import Array

DENSE_MAX = 20_000
"""Sections up to which all vectors are kept as float32: 20 MB, and 2 ms a search on one core."""

PROBES = 12
_ROUNDS = 6
_SAMPLE_PER_CLUSTER = 32
_ROWS_AT_ONCE = 16_384
_SEED = 17

Vector = npt.NDArray[np.float32]
Positions = npt.NDArray[np.intp]


def vector_arrays(vectors: npt.NDArray[np.float16]) -> dict[str, Array]:
    """What of the vectors goes into the file.

    Args:
        vectors: unit vectors in the order of the sections, shape (sections, dimensions).
    """
    centre = {"centre": _unit(vectors.mean(axis=0, dtype=np.float64))}
    if len(vectors) <= DENSE_MAX:
        return {"vectors": vectors, **centre}
    centres = _cluster(vectors)
    cluster = _nearest_centre(vectors, centres)
    order = np.argsort(cluster, kind="stable")
    rank = np.empty(len(order), dtype="<u4")
    rank[order] = np.arange(len(order), dtype="<u4")
    return {
        "centres": centres,
        "cluster_starts": np.searchsorted(cluster[order], np.arange(len(centres) + 1)).astype("<u4"),
        "vector_position": order.astype("<u4"),
        "vector_rank": rank,
        "vectors": vectors[order],
        **centre,
    }


def _unit(vector: npt.NDArray[np.float64]) -> Vector:
    return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)


def _cluster(vectors: npt.NDArray[np.float16]) -> Vector:
    """Centres by spherical k-means on a sample; the same ones for the same vectors."""
    count = round(math.sqrt(len(vectors)))
    generator = np.random.default_rng(_SEED)
    chosen = generator.choice(len(vectors), size=min(len(vectors), count * _SAMPLE_PER_CLUSTER), replace=False)
    sample = vectors[np.sort(chosen)].astype(np.float32)
    centres: Vector = sample[generator.choice(len(sample), size=count, replace=False)]
    for _ in range(_ROUNDS):
        cluster = _nearest_centre(sample, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, cluster, sample)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        # A centre that lost all its vectors stays where it is.
        centres = np.where(norms > 0, sums / np.maximum(norms, 1e-9), centres).astype(np.float32)
    return centres


def _nearest_centre(vectors: Array, centres: Vector) -> Positions:
    parts = [
        np.argmax(vectors[start : start + _ROWS_AT_ONCE].astype(np.float32) @ centres.T, axis=1)
        for start in range(0, len(vectors), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


class SectionVectors:
    """Compares a question with the sections. Safe to share between threads.

    Args:
        arrays: of the file.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self._dense: Vector | None = None
        if "centres" not in arrays:
            self._dense = arrays["vectors"].astype(np.float32)

    def nearest(self, question: Vector, count: int) -> Positions:
        """Positions of the sections nearest to a question; only those on its side.

        Args:
            question: unit vector.
            count: at most so many.
        """
        if self._dense is not None:
            return top(np.vecdot(self._dense, question), count)
        starts, place = self._arrays["cluster_starts"], self._arrays["vector_position"]
        clusters = top(np.vecdot(self._arrays["centres"], question), PROBES)
        rows = [np.arange(starts[cluster], starts[cluster + 1]) for cluster in np.sort(clusters)]
        if not rows:
            return np.zeros(0, dtype=np.intp)
        similarity = np.concatenate(
            [
                np.vecdot(self._arrays["vectors"][each[0] : each[-1] + 1].astype(np.float32), question)
                for each in rows
                if len(each)
            ]
        )
        found: Positions = place[np.concatenate(rows)[top(similarity, count)]].astype(np.intp)
        return found

    def domain(self, question: Vector) -> float:
        """Cosine of a question and the mean of all sections: whether it speaks of what they speak of.

        Args:
            question: unit vector.
        """
        return float(np.vecdot(self._arrays["centre"], question))

    def similarity(self, question: Vector, positions: Positions) -> Vector:
        """Cosines of a question and some sections.

        Args:
            question: unit vector.
            positions: of the sections.
        """
        # Not `@`: BLAS would start its threads, and waits 16 ms for them on a machine whose cores the engine has.
        if self._dense is not None:
            cosines: Vector = np.vecdot(self._dense[positions], question)
        else:
            rows = self._arrays["vector_rank"][positions]
            cosines = np.vecdot(self._arrays["vectors"][rows].astype(np.float32), question)
        return cosines


def top(scores: Vector, count: int) -> Positions:
    """Positions of the highest scores above 0, in no order."""
    above = np.flatnonzero(scores > 0)
    if len(above) <= count:
        return above
    return above[np.argpartition(-scores[above], count - 1)[:count]]
