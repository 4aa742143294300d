"""Entry point of `python -m flows` and of the console script `keyhole`."""

from flows.cli.main import main

if __name__ == "__main__":
    main()
