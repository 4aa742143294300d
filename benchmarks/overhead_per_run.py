"""What a run costs besides its training: time of the parent process, work of the two databases.

Two sweeps of real runs that learn next to nothing, one short and one long, in a project of their own; what the long
one costs more, over the runs that it has more, is what a run costs. `python -m benchmarks.overhead_per_run`
"""

import contextlib
import io
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

SHORT, LONG = 1, 5  # runs
WRITES = ("INSERT", "UPDATE", "DELETE")


def project(root: Path) -> None:
    """A project of its own, before anything of Prefect is imported."""
    (root / ".git").mkdir()
    os.chdir(root)
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "KEYHOLE_", "MLFLOW_"))]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = str(root / ".prefect")


def sweep(runs: int, checkpoints: int) -> None:
    """That many runs, two side by side; what it prints is not shown."""
    from flows.cli.commands import run_sweep
    from flows.config import CompareConfig, Training

    config = CompareConfig(
        env="keyhole/DiamondGhost-v0", env_kwargs={"size": 2}, methods=("naive",), oversight=(0.1,), seeds=runs,
        steps=1024 * checkpoints, checkpoints=checkpoints, training=Training(n_envs=32, n_steps=32, width=16),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run_sweep(config, force=True)


@contextlib.contextmanager
def served() -> Iterator[None]:
    """One server of Prefect for all sweeps: this process can be told of one only."""
    from flows.prefect_server.server import Server

    server = Server(Path(os.environ["PREFECT_HOME"]))
    try:
        server.start()
        server.wait()
        yield
    finally:
        server.leave()


def rows(database: Path) -> Counter[str]:
    """Rows of each table."""
    with contextlib.closing(sqlite3.connect(database)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return Counter({table: file.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables})


def measured(runs: int, checkpoints: int, statements: Counter[str]) -> dict[str, float]:
    """What a sweep of that many runs adds to each figure."""
    statements.clear()
    before = {name: rows(Path(name)) for name in DATABASES if Path(name).exists()}
    cpu, wall = time.process_time(), time.monotonic()
    sweep(runs, checkpoints)
    found: dict[str, float] = {"parent, CPU s": time.process_time() - cpu, "sweep, wall s": time.monotonic() - wall}
    found |= {f"MLflow, {kind}": count for kind, count in statements.items()}
    for name, kind in DATABASES.items():
        added = rows(Path(name))
        added.subtract(before.get(name, Counter()))
        found[f"{kind}, rows"] = sum(added.values())
        for table, count in added.items():
            found[f"{kind}, rows of {table}"] = count
    found["files, bytes"] = sum(path.stat().st_size for path in Path("mlruns/artifacts").rglob("*") if path.is_file())
    return found


DATABASES = {"mlruns/mlflow.db": "MLflow", ".prefect/prefect.db": "Prefect"}


def counted() -> Counter[str]:
    """Counts the statements that this process, which is MLflow's only writer, sends to its database."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    statements: Counter[str] = Counter()

    def sent(connection: object, cursor: object, statement: str, *_: object) -> None:
        verb = statement.lstrip().split(None, 1)[0].upper()
        statements["statements that write" if verb in WRITES else "statements that read"] += 1

    def committed(connection: object) -> None:
        statements["transactions"] += 1

    event.listen(Engine, "before_cursor_execute", sent)
    event.listen(Engine, "commit", committed)
    return statements


def plan(each: dict[str, float], runs: int, machines: int, processes: int, seconds: float) -> dict[str, float]:
    """What that many runs of that many seconds cost, on machines with so many processes each."""
    rate = machines * processes / seconds  # runs that end in a second
    busy = each["parent, CPU s"] * rate
    return {
        "processes that train": machines * processes,
        "hours, if no parent is in the way": round(runs / rate / 3600, 2),
        "runs that end in a second": round(rate, 2),
        "parents that this keeps busy": round(busy, 2),
        "hours with one parent": round(runs * max(1 / rate, each["parent, CPU s"]) / 3600, 2),
        "MLflow, transactions in a second": round(rate * each["MLflow, transactions"], 1),
        "MLflow, rows in all": round(runs * each["MLflow, rows"]),
        "Prefect, rows in all": round(runs * each["Prefect, rows"]),
        "files, GB": round(runs * each["files, kB"] / 1e6, 1),
    }


def show(title: str, figures: dict[str, float]) -> None:
    """A line for each."""
    print(title)
    for name, value in figures.items():
        print(f"  {name:<46}{value:>10g}" if value < 1e6 else f"  {name:<46}{value:>10,.0f}")


@click.command()
@click.option("--checkpoints", default=20, show_default=True, help="evaluations along a run, the writes' main cause")
@click.option("--runs", default=10_000, show_default=True, help="of the plan")
@click.option("--machines", default=50, show_default=True, help="of the plan")
@click.option("--processes", default=16, show_default=True, help="of the plan, on each machine")
@click.option("--seconds", default=60.0, show_default=True, help="of the plan, that a run trains")
def main(checkpoints: int, runs: int, machines: int, processes: int, seconds: float) -> None:
    """Print what one more run costs, and what follows for many runs on many machines."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        project(Path(root))
        with served():
            statements = counted()
            sweep(1, checkpoints)  # makes both databases
            short = measured(SHORT, checkpoints, statements)
            files = short.pop("files, bytes")
            long = measured(LONG, checkpoints, statements)
        long["files, bytes"] -= files
        os.chdir("/")
    more = LONG - SHORT
    files = long.pop("files, bytes") / LONG
    each = {name: round((long.get(name, 0) - short.get(name, 0)) / more, 3) for name in sorted({*short, *long})}
    each = {name: value for name, value in each.items() if value} | {"files, kB": round(files / 1e3)}
    show(f"one more run of {checkpoints} checkpoints costs", each)
    title = f"{runs:,} runs of {seconds:g} s on {machines} machines with {processes} processes each"
    show(title, plan(each, runs, machines, processes, seconds))


if __name__ == "__main__":
    sys.exit(main())
