"""Stands in for the real collector."""
