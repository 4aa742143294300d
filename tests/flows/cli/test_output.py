"""Printing cannot make a command fail whose work is done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.output import TolerantStream

ROOT = Path(__file__).parents[3]


def keyhole(*words: str, stdout=subprocess.PIPE, **variables: str) -> subprocess.CompletedProcess:
    """A command in a process of its own, whose output has the encoding that the variables choose."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **variables}
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        env=environ,
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )


ASCII = [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii:strict"}]


@pytest.fixture(scope="module")
def run(store) -> str:
    """A run whose name and curve need more than ASCII."""
    with store.run("größer ≥ 1", {}, {"kind": "run", "method": "naive"}) as record:
        for step in range(3):
            record.metrics(step, {"eval/true_return": float(step)})
    return record.run_id


@pytest.mark.parametrize("variables", ASCII, ids=str)
def test_every_text_can_be_printed_in_ascii(store, run, variables):
    done = keyhole("show", run, "--mlruns", str(store.project.mlruns), **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"gr??er ? 1")
    assert b" 047 " in done.stdout


def test_a_full_disk_under_the_output_is_one_line_and_exit_code_1():
    with open("/dev/full", "w") as full:
        done = keyhole("runs", "--help", stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"keyhole: standard output is incomplete: [Errno 28] No space left on device\n"


def test_a_reader_that_closes_its_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = keyhole("runs", "--help", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_output_is_no_error(tmp_path):
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m flows runs --help >&- 2>{tmp_path}/err"], cwd=ROOT, check=False
    )
    assert (done.returncode, (tmp_path / "err").read_text()) == (0, "")


@pytest.mark.parametrize("target", ["/dev/full", "pipe"])
def test_a_job_goes_on_when_its_output_is_lost(target, tmp_path):
    job = (
        "import sys; from flows.output import make_tolerant, lost_output; make_tolerant()\n"
        "for i in range(3): print('\\u2581' * 10000, flush=True)\n"
        f"open({str(tmp_path / 'done')!r}, 'w').write(str(lost_output()))"
    )
    if target == "pipe":
        reader, output = os.pipe()
        os.close(reader)
    else:
        output = os.open(target, os.O_WRONLY)
    done = subprocess.run([sys.executable, "-c", job], cwd=ROOT, stdout=output, stderr=subprocess.PIPE, check=False)
    os.close(output)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").read_text() == ("None" if target == "pipe" else "[Errno 28] No space left on device")


def test_a_lone_surrogate_of_a_file_name_is_replaced(tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        stream = TolerantStream(file)
        print("a\udcffb", file=stream, flush=True)
        stream.detach()
    assert (tmp_path / "out").read_text(encoding="utf-8") == "a?b\n"


def test_processes_that_start_later_replace_what_their_encoding_lacks():
    command = "import flows, subprocess, sys; subprocess.run([sys.executable, '-c', 'print(chr(0x2581))'], check=True)"
    for variables in ASCII:
        environ = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **variables}
        done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, env=environ, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"?\n"), json.dumps(done.stderr.decode())
