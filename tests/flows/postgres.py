"""A private PostgreSQL server on loopback. Under root it runs as the package's user postgres."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALLED = Path("/usr/lib/postgresql")  # Debian's directory, not on the path


def program(name: str) -> str:
    """Returns the path of a PostgreSQL program; skips the test if it is not installed."""
    found = shutil.which(name) or next(map(str, sorted(INSTALLED.glob(f"*/bin/{name}"), reverse=True)), None)
    if found is None:
        pytest.skip(f"PostgreSQL is not available: {name} is not installed")
    return found


def server_user() -> str | None:
    """The user to run PostgreSQL as, because it refuses to run as root; None for the current user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")


def run(user: str | None, *command: str) -> None:
    done = subprocess.run(
        command, user=user, group=user, extra_groups=[] if user else None, cwd="/", text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@contextmanager
def postgres(*databases: str) -> Iterator[str]:
    """Yields the address of a server with these databases: postgresql://keyhole@127.0.0.1:port."""
    initdb, control, create = program("initdb"), program("pg_ctl"), program("createdb")
    user = server_user()
    with tempfile.TemporaryDirectory(prefix="keyhole-postgres-", ignore_cleanup_errors=True) as root:
        if user:
            shutil.chown(root, user, user)
        data, port = f"{root}/data", free_port()
        run(user, initdb, "-D", data, "-U", "keyhole", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {root} -c fsync=off"
        # logs to a file, because an inherited stdout would keep our pipe open
        run(user, control, "-D", data, "-w", "-l", f"{root}/log", "-o", settings, "start")
        try:
            for database in databases:
                run(user, create, "-h", "127.0.0.1", "-p", str(port), "-U", "keyhole", database)
            yield f"postgresql://keyhole@127.0.0.1:{port}"
        finally:
            run(user, control, "-D", data, "-m", "immediate", "-w", "stop")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
