"""Stands in for the real curator: the same frame, jobs and contracts, with work that takes no time."""

from stand_in_services import serve_curator

serve_curator()
