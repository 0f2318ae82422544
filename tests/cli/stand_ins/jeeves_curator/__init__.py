"""Stands in for the real curator."""
