"""`python -m jeeves_trainer`."""

from jeeves_trainer.app import main

if __name__ == "__main__":
    main()
