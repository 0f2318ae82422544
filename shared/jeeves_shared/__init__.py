"""What the services of Jeeves have in common: contracts, jobs, artifacts, and the frame of an HTTP service."""

__version__ = "0.1.0"
