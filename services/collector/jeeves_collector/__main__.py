"""`python -m jeeves_collector`."""

from jeeves_collector.app import main

if __name__ == "__main__":
    main()
