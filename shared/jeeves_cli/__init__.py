"""The `jeeves` command: a thin client of the services' contracts, and the bundle that runs them on one machine."""
