"""Stands in for the real trainer."""
