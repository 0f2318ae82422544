"""How close an answer is to its reference in meaning, by the embedder of the search."""

from collections.abc import Callable

from jeeves_shared.errors import JeevesError

Similarity = Callable[[str, str], float]


def load_similarity() -> Similarity | None:
    """Cosine of the mean token vectors of two texts, in [0, 1]; None where the embedder is not installed.

    All tokens weigh the same: a score must not depend on the other cases of a suite.
    """
    try:
        import numpy as np  # noqa: PLC0415 - only with the extra `search`

        from jeeves_shared.search.embedding import VOCABULARY, load_embedder  # noqa: PLC0415

        embedder = load_embedder()
    except (ImportError, JeevesError):
        return None
    weights = np.ones(VOCABULARY, dtype=np.float32)

    def similarity(one: str, other: str) -> float:
        first, second = embedder.embed([one, other], weights)
        return min(1.0, max(0.0, float(first @ second)))

    return similarity
