"""`python -m jeeves_curator`."""

from jeeves_curator.app import main

main()
