"""`python -m flows` and the console script `keyhole`."""

from flows.cli.main import main

if __name__ == "__main__":
    main()
