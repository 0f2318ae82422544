"""Stands in for the real gateway: the same frame, jobs and contracts, with work that takes no time."""

from stand_in_services import serve_gateway

serve_gateway()
