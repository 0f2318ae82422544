"""The search index: one SQLite file, built by the curator, opened read-only by the gateway."""
