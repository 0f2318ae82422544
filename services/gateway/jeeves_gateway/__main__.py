"""`python -m jeeves_gateway`."""

from jeeves_gateway.app import main

if __name__ == "__main__":
    main()
