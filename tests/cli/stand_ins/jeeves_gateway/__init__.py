"""Stands in for the real gateway."""
