"""After Ctrl-C the command ends without waiting for threads or for the interpreter's shutdown, and loses nothing."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.cli import commands, main
from flows.config import CompareConfig, RunOptions
from flows.project import Project

ROOT = Path(__file__).parents[3]
# A command that is interrupted while a child process and a thread run; that thread would keep Python from ending.
INTERRUPTED = """
import atexit, multiprocessing, sys, threading, time
from flows import __main__ as entry
from flows.cli import main as command_line

def interrupted(*_, **__):
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,), daemon=True)
    child.start()
    print(child.pid)
    atexit.register(print, "exit handlers were called")
    threading.Thread(target=time.sleep, args=(3600,)).start()
    raise KeyboardInterrupt

command_line.cli.main = interrupted
entry.main()
"""


def test_an_interrupted_command_ends_while_a_thread_hangs_with_its_output_and_without_its_children():
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    child, *lines = done.stdout.splitlines()
    assert (done.returncode, lines) == (130, ["exit handlers were called"])
    assert done.stderr == "keyhole: stopped\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)


def test_only_a_command_of_several_runs_that_is_stopped_keeps_finished_ones(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.cli, "main", interrupted)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(main, "make_tolerant", lambda: None)
    for command, message in (("check", "stopped"), ("serve", "stopped; finished runs are kept")):
        monkeypatch.setattr(sys, "argv", ["keyhole", command])
        with pytest.raises(SystemExit, match="130"):
            main.main()
        assert capsys.readouterr().err == f"keyhole: {message}\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_sweep_gives_its_server_little_time(tmp_path, monkeypatch, error):
    left = []

    class Server:
        def __init__(self, home):
            self.leave = left.append

        def start(self): ...
        def wait(self): ...

    @contextmanager
    def pool(config):
        yield

    monkeypatch.setattr("flows.prefect_server.server.Server", Server)
    monkeypatch.setattr("flows.running.runners.open_pool", pool)
    monkeypatch.setattr(commands, "_unchanged", lambda *_: None)
    project = Project(tmp_path, tmp_path / "mlruns")
    with pytest.raises(error), commands._server(project, CompareConfig(), RunOptions()):
        raise error
    assert left == [error is KeyboardInterrupt]


@pytest.mark.parametrize(("continued", "words"), [("", "--resume`"), ("0123456789abcdef", "--resume 01234567`")])
def test_a_stopped_sweep_is_resumed_by_its_id_if_it_is_not_the_newest(tmp_path, monkeypatch, continued, words):
    @contextmanager
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "_server", interrupted)
    project = Project(tmp_path, Path("mlruns").absolute())
    monkeypatch.setattr("flows.shell._store_options", lambda project: ([], ""))
    with pytest.raises(KeyboardInterrupt, match=words):
        commands._sweep(project, CompareConfig(), RunOptions(), continued)


def test_next_seeds_pass_the_sweep_that_they_extend_to_the_printed_command(tmp_path, monkeypatch):
    continued = []
    project = Project(tmp_path, tmp_path)
    monkeypatch.setattr(commands, "writable_project", lambda: project)
    monkeypatch.setattr("flows.sweep.checks.check_sweep", lambda config: None)
    monkeypatch.setattr(commands, "existing_store", lambda: None)
    monkeypatch.setattr(commands, "_extend", lambda *_: (None, None, "older"))
    monkeypatch.setattr(commands, "_sweep", lambda *words: continued.append(words[-1]))
    commands.run_comparison(CompareConfig(), RunOptions(next_seeds=True))
    assert continued == ["older"]
