"""The search index: one SQLite file, built by the curator, opened read-only by the gateway.

| module | what |
|---|---|
| `tokens` | the token stream: identifiers, English, Chinese |
| `embedding` | static vectors: numpy only |
| `sentences` | the sentence encoder that an index may carry |
| `schema` | layout of the file |
| `builder` | `Section`, `build_index` |
| `reader` | `SearchIndex`, `Hit` |
"""

from jeeves_shared.search.builder import Section, build_index
from jeeves_shared.search.errors import EmbedderMissing, IndexUnusable
from jeeves_shared.search.reader import Hit, SearchIndex, Topicality

__all__ = ["EmbedderMissing", "Hit", "IndexUnusable", "SearchIndex", "Section", "Topicality", "build_index"]
