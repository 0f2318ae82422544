"""Stands in for the real collector: the same frame, jobs and contracts, with work that takes no time."""

from stand_in_services import serve_collector

serve_collector()
