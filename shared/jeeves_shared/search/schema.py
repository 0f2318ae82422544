"""Layout of the index file. Bump `SCHEMA_VERSION` with any change to it, to the tokens or to the embedded text."""

SCHEMA_VERSION = 1

# One term per blank-separated word: the terms come ready-made from `tokens`, SQLite must not split them again.
_TOKENIZER = "ascii tokenchars '._-/:$@'"

DDL = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sections (
    id INTEGER PRIMARY KEY,
    section_id TEXT NOT NULL UNIQUE,
    source_path TEXT NOT NULL,
    url TEXT NOT NULL,
    title TEXT NOT NULL,
    section TEXT NOT NULL,
    heading_path TEXT NOT NULL,
    text TEXT NOT NULL,
    licence TEXT NOT NULL
);
CREATE INDEX sections_by_source ON sections (source_path, id);
CREATE VIRTUAL TABLE lexical USING fts5(title, heading, body, parts, tokenize="{_TOKENIZER}");
CREATE TABLE terms (term TEXT PRIMARY KEY, sections INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE blobs (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
