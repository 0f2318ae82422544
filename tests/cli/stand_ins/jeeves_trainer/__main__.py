"""Stands in for the real trainer: the same frame, jobs and contracts, with work that takes no time."""

from stand_in_services import serve_trainer

serve_trainer()
