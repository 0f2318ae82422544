"""Errors of the search index, below `JeevesError`.

JeevesError
├── IndexUnusable        the file is no search index, or was built by other rules than the reader's
└── EmbedderMissing      the embedding model is not installed or not the expected one
"""

from jeeves_shared.errors import JeevesError


class IndexUnusable(JeevesError):
    """The file is no search index that this reader can use."""

    code = "index-unusable"
    title = "Search index unusable"
    status = 503


class EmbedderMissing(JeevesError):
    """The embedding model cannot be loaded."""

    code = "embedder-missing"
    title = "Embedding model missing"
    status = 503
