"""A process is identified without a clock; one that cannot be seen is alive while its counter changes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import count

import psutil
import pytest

from flows.errors import UserError
from flows.prefect_server.server import STOP_TIMEOUT, Server
from flows.sweep import plan
from flows.tracking import process_owner
from flows.tracking.process_owner import HEARTBEAT, PROCESS, beating, is_abandoned, is_alive, owner_tags

linux = pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="needs Linux's /proc")


@pytest.fixture
def other():
    """A process that lives until the test ends."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def clock_step(monkeypatch):
    """The system clock is set forward by an hour: psutil computes other creation times for living processes."""
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 3600)


@linux
def test_a_clock_step_does_not_make_a_living_process_look_dead(other, monkeypatch):
    tags = owner_tags(other.pid)
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 3600)
    assert is_alive(tags) is True


@linux
def test_a_killed_process_is_dead_before_and_after_its_parent_reads_its_exit_code(other):
    tags = owner_tags(other.pid)
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(tags) is False
    other.wait()
    assert is_alive(tags) is False


@linux
def test_a_process_with_a_reused_number_is_not_the_owner():
    tags = owner_tags()
    space, _, ticks = tags[PROCESS].rpartition(" ")
    assert is_alive({**tags, PROCESS: f"{space} {int(ticks) - 1}"}) is False


@linux
@pytest.mark.parametrize("field", [0, 1])
def test_a_process_of_another_boot_or_namespace_cannot_be_seen(field):
    tags = owner_tags()
    fields = tags[PROCESS].split(" ")
    fields[field] += "0"
    assert is_alive({**tags, "pid": str(2**22 + 1), PROCESS: " ".join(fields)}) is None


@linux
@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare and root")
def test_another_pid_namespace_with_the_same_host_name_does_not_see_this_process_as_dead():
    program = "import sys; from flows.tracking.process_owner import is_alive; print(is_alive(eval(sys.argv[1])))"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program, repr(owner_tags())]
    done = subprocess.run(command, capture_output=True, text=True)
    if "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "None\n"


def test_tags_of_earlier_versions_are_still_read(other):
    tags = {name: value for name, value in owner_tags(other.pid).items() if name != PROCESS}
    assert is_alive(tags) is True
    assert is_abandoned({**tags, "process_started": str(float(tags["process_started"]) - 100)})
    assert is_abandoned({**tags, "pid": str(2**22 + 1)})
    assert is_abandoned({"host": socket.gethostname()})
    assert is_alive({**tags, "host": "another"}) is None


def test_without_proc_a_process_is_identified_by_host_number_and_creation_time(monkeypatch, tmp_path):
    monkeypatch.setattr(process_owner, "PROC", tmp_path)
    tags = owner_tags()
    assert PROCESS not in tags
    assert is_alive(tags) is True


def test_a_counter_that_changes_is_a_living_owner_whatever_the_clock_shows(monkeypatch):
    counter = count()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    read = lambda: {"alive": str(next(counter)), "dead": "7", "silent": None}  # noqa: E731
    assert beating(read, seconds=0.3) == {"alive"}


def remote(**tags):
    """Tags of a process on another machine."""
    return {**owner_tags(), "host": "another", PROCESS: "boot pid:[1] 5", **tags}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(process_owner, "OBSERVATION_SECONDS", 0.5)
    monkeypatch.setattr(beating, "__defaults__", (0.5,))


@pytest.fixture
def far_sweep(store):
    """A sweep that another machine started last."""
    run = store.client.create_run(store.experiment, tags=remote(kind="sweep", heartbeat="3"), run_name="far")
    yield run.info.run_id
    store.client.delete_run(run.info.run_id)


@pytest.mark.parametrize("name", ["", "far"])
def test_a_sweep_that_lives_on_another_machine_is_not_resumed(store, far_sweep, impatient, name):
    ended = threading.Event()

    def beat():
        for number in count(4):
            if ended.wait(0.05):
                return
            store.client.set_tag(far_sweep, HEARTBEAT, str(number))

    owner = threading.Thread(target=beat)
    owner.start()
    try:
        with pytest.raises(UserError, match="sweep far is running"):
            plan.find_unfinished(store, name)
    finally:
        ended.set()
        owner.join()


def test_a_sweep_whose_heartbeat_has_stopped_is_resumed(store, far_sweep, impatient):
    assert plan.find_unfinished(store, "").info.run_id == far_sweep


def test_a_sweep_that_lives_in_this_machine_is_not_resumed(store, other):
    run = store.client.create_run(store.experiment, tags={"kind": "sweep", **owner_tags(other.pid)}, run_name="near")
    with pytest.raises(UserError, match=f"sweep near is running .process {other.pid} on"):
        plan.find_unfinished(store, "near")
    store.client.delete_run(run.info.run_id)


def test_the_owner_of_a_sweep_raises_its_heartbeat(store, monkeypatch):
    monkeypatch.setattr("flows.tracking.store.HEARTBEAT_SECONDS", 0.05)
    with store.run("beating", {}, {"kind": "sweep"}) as record:
        read = lambda: {"run": store.client.get_run(record.run_id).data.tags.get(HEARTBEAT)}  # noqa: E731
        assert beating(read, seconds=5) == {"run"}


@linux
def test_runs_of_a_silent_neighbour_with_this_machines_name_are_closed_and_of_a_beating_one_are_not(store, impatient):
    def create(parent=None, **tags):
        tags = {**remote(host=socket.gethostname()), **tags, **({"mlflow.parentRunId": parent} if parent else {})}
        return store.client.create_run(store.experiment, tags=tags).info.run_id

    silent, alive = create(heartbeat="1"), create(heartbeat="1")
    children = [create(parent) for parent in (silent, alive)]
    read = store.client.get_run
    counter = count(2)

    def advance(run_id):
        if run_id == alive:
            store.client.set_tag(alive, HEARTBEAT, str(next(counter)))
        return read(run_id)

    store.client.get_run = advance
    try:
        store.close_abandoned_runs()
    finally:
        del store.client.get_run
    states = [read(run_id).info.status for run_id in (silent, alive, *children)]
    assert states == ["KILLED", "RUNNING", "KILLED", "RUNNING"]
    for run_id in (alive, children[1]):
        store.client.set_terminated(run_id)


def test_a_run_that_finishes_has_no_error_even_if_another_process_took_it_for_dead(store):
    with store.run("mistaken", {}, {}) as record:
        store.client.set_tag(record.run_id, "error", "its process ended without closing it")
        store.client.set_terminated(record.run_id, "KILLED")
    run = store.client.get_run(record.run_id)
    assert (run.info.status, "error" in run.data.tags) == ("FINISHED", False)


@linux
def test_prefects_server_is_found_after_a_clock_step_and_not_killed_when_its_number_was_reused(
    tmp_path, other, monkeypatch, clock_step
):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    server = Server(tmp_path)
    record = tmp_path / "server.json"
    record.write_text(f'{{"url": "http://127.0.0.1:1/api", "pid": {other.pid}, "started": 5.0}}')
    assert server.found_own() is None
    server._stop(STOP_TIMEOUT)
    assert other.poll() is None
    record.write_text(json.dumps({"url": "http://127.0.0.1:1/api", **owner_tags(other.pid)}))
    clock = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: clock(process) + 60)
    assert server.found_own() == "http://127.0.0.1:1/api"
