"""Runs `keyhole` in a process forked from one that has imported the libraries which do not read the environment.

A command of a user imports them anew, which takes most of its time. Tests of signals, and those of user modules that
replace ours, start commands as a user does.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

LIBRARIES = ["agents", "torch._dynamo", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "pandas", "scipy.stats"]
LIBRARIES += ["matplotlib.backends.backend_agg", "click", "rich.console"]
TIMEOUT = 400  # seconds
_server = forkserver.ForkServer()  # Python's own may be in use by a pool of this process, with Prefect imported in it
_server.set_forkserver_preload(LIBRARIES)


def keyhole(folder: Path, environment: Mapping[str, str], *words: str, code: str = "") -> subprocess.CompletedProcess:
    """Runs a command and returns its exit code and output.

    Args:
        folder: the current folder of the command.
        environment: all environment variables of the command.
        *words: arguments.
        code: replaces `python -m flows` by this program.
    """
    context = multiprocessing.get_context("forkserver")
    output, errors = (os.memfd_create(name) for name in ("stdout", "stderr"))
    streams = context.reducer.DupFd(output), context.reducer.DupFd(errors)  # type: ignore[attr-defined]
    process = context.Process(target=_run, args=(str(folder), dict(environment), words, code, *streams))
    with patch.object(forkserver, "connect_to_new_process", _server.connect_to_new_process):
        process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(words, TIMEOUT)
    texts = [_text(stream) for stream in (output, errors)]
    return subprocess.CompletedProcess(words, process.exitcode, *texts)


def _text(stream: int) -> str:
    with os.fdopen(stream, "rb") as file:
        file.seek(0)
        return file.read().decode()


def _run(folder: str, environment: dict[str, str], words: tuple[str, ...], code: str, output, errors) -> None:
    """The forked process."""
    for number, stream in ((1, output), (2, errors)):
        os.dup2(stream.detach(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = ["keyhole", *words]
    sys.modules.pop("__mp_main__", None)
    if code:
        exec(compile(code, "<command>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_module("flows", run_name="__main__", alter_sys=True)
