"""Entry point of `python -m flows` and of the console script `keyhole`."""

import atexit
import os
import signal
import sys
from typing import NoReturn

from flows import search_path


def main() -> None:
    """Runs the command line. After Ctrl-C or SIGTERM the process ends without the interpreter's own shutdown."""
    search_path.use_current_folder()
    if hidden := search_path.hidden_package():
        print(f"keyhole: {hidden}", file=sys.stderr)
        sys.exit(2)
    from flows.cli import main as command_line  # after that, or modules of the current folder might replace libraries

    try:
        command_line.main()
    except SystemExit as end:
        if end.code == command_line.INTERRUPTED:
            _exit_now(end.code)
        raise


def _exit_now(code: int) -> NoReturn:
    """Calls the exit handlers, which stop child processes and remove temporary folders, and ends the process.

    Python would also wait for the threads that still run, such as requests to a server that is away, and free every
    object, which takes three seconds once torch, MLflow and Prefect are imported.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
