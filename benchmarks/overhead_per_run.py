"""Cost of a run besides its training: CPU time of the parent process and work of the two databases.

Two sweeps of real runs with very little training, one short and one long, run in a temporary project. The cost of one
run is the difference between the two sweeps divided by the difference in their numbers of runs. Start it with
`python -m benchmarks.overhead_per_run`.
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
DATABASES = {"mlruns/mlflow.db": "MLflow", ".prefect/prefect.db": "Prefect"}


def enter_project(root: Path) -> None:
    """Make `root` the current project, with its own stores; must run before prefect is imported."""
    (root / ".git").mkdir()
    os.chdir(root)
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "KEYHOLE_", "MLFLOW_"))]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = str(root / ".prefect")


def run_small_sweep(runs: int, checkpoints: int) -> None:
    """Run a sweep of short runs, two at a time; its standard output is discarded."""
    from flows.cli.commands import run_comparison
    from flows.config import CompareConfig, RunOptions, Training

    config = CompareConfig(
        env="keyhole/DiamondGhost-v0", env_kwargs={"size": 2}, methods=("naive",), oversight=(0.1,), seeds=runs,
        steps=1024 * checkpoints, checkpoints=checkpoints, training=Training(n_envs=32, n_steps=32, width=16),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run_comparison(config, RunOptions(force=True, reuse=False))


@contextlib.contextmanager
def prefect_server_running() -> Iterator[None]:
    """Keep one Prefect server running for all sweeps: a process cannot change servers once prefect is imported."""
    from flows.prefect_server.server import Server

    server = Server(Path(os.environ["PREFECT_HOME"]))
    try:
        server.start()
        server.wait()
        yield
    finally:
        server.leave()


def count_rows(database: Path) -> Counter[str]:
    """Number of rows of each table of an SQLite database."""
    with contextlib.closing(sqlite3.connect(database)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return Counter({table: file.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables})


def measure_sweep(runs: int, checkpoints: int, statements: Counter[str]) -> dict[str, float]:
    """Run a sweep; return its time, its database statements, the rows it added and the size of all artifact files."""
    statements.clear()
    before = {name: count_rows(Path(name)) for name in DATABASES if Path(name).exists()}
    cpu, wall = time.process_time(), time.monotonic()
    run_small_sweep(runs, checkpoints)
    result: dict[str, float] = {"parent, CPU s": time.process_time() - cpu, "sweep, wall s": time.monotonic() - wall}
    result |= {f"MLflow, {kind}": count for kind, count in statements.items()}
    for name, database in DATABASES.items():
        added = count_rows(Path(name))
        added.subtract(before.get(name, Counter()))
        result[f"{database}, rows"] = sum(added.values())
        for table, count in added.items():
            result[f"{database}, rows of {table}"] = count
    result["files, bytes"] = sum(path.stat().st_size for path in Path("mlruns/artifacts").rglob("*") if path.is_file())
    return result


def count_statements() -> Counter[str]:
    """Return a live counter of the SQL statements of this process, the only writer to MLflow's database."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    statements: Counter[str] = Counter()

    def on_statement(connection: object, cursor: object, statement: str, *_: object) -> None:
        verb = statement.lstrip().split(None, 1)[0].upper()
        statements["write statements" if verb in WRITES else "read statements"] += 1

    def on_commit(connection: object) -> None:
        statements["transactions"] += 1

    event.listen(Engine, "before_cursor_execute", on_statement)
    event.listen(Engine, "commit", on_commit)
    return statements


def extrapolate(
    per_run: dict[str, float], runs: int, machines: int, processes: int, seconds: float
) -> dict[str, float]:
    """Extrapolate the cost of one run to many.

    Args:
        per_run: cost of one run.
        runs: number of runs.
        machines: number of machines.
        processes: training processes on each machine.
        seconds: training time of a run.
    """
    rate = machines * processes / seconds  # runs finished per second
    parents = per_run["parent, CPU s"] * rate
    return {
        "training processes": machines * processes,
        "hours, with enough parents": round(runs / rate / 3600, 2),
        "runs finished per second": round(rate, 2),
        "parents kept busy": round(parents, 2),
        "hours, with one parent": round(runs * max(1 / rate, per_run["parent, CPU s"]) / 3600, 2),
        "MLflow, transactions per second": round(rate * per_run["MLflow, transactions"], 1),
        "MLflow, total rows": round(runs * per_run["MLflow, rows"]),
        "Prefect, total rows": round(runs * per_run["Prefect, rows"]),
        "files, GB": round(runs * per_run["files, kB"] / 1e6, 1),
    }


def print_block(title: str, values: dict[str, float]) -> None:
    """Print a title and one line per value."""
    print(title)
    for name, value in values.items():
        print(f"  {name:<46}{value:>10g}" if value < 1e6 else f"  {name:<46}{value:>10,.0f}")


@click.command()
@click.option("--checkpoints", default=20, show_default=True, help="evaluations per run, the main cause of writes")
@click.option("--runs", default=10_000, show_default=True, help="runs in the extrapolation")
@click.option("--machines", default=50, show_default=True, help="machines in the extrapolation")
@click.option("--processes", default=16, show_default=True, help="training processes on each of these machines")
@click.option("--seconds", default=60.0, show_default=True, help="training time of each of these runs")
def main(checkpoints: int, runs: int, machines: int, processes: int, seconds: float) -> None:
    """Print the cost of one more run, and extrapolate it to many runs on many machines."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        enter_project(Path(root))
        with prefect_server_running():
            statements = count_statements()
            run_small_sweep(1, checkpoints)  # creates both databases
            short = measure_sweep(SHORT, checkpoints, statements)
            files = short.pop("files, bytes")
            long = measure_sweep(LONG, checkpoints, statements)
        long["files, bytes"] -= files
        os.chdir("/")
    extra = LONG - SHORT
    files = long.pop("files, bytes") / LONG
    per_run = {name: round((long.get(name, 0) - short.get(name, 0)) / extra, 3) for name in sorted({*short, *long})}
    per_run = {name: value for name, value in per_run.items() if value} | {"files, kB": round(files / 1e3)}
    print_block(f"one more run of {checkpoints} checkpoints costs", per_run)
    title = f"{runs:,} runs of {seconds:g} s on {machines} machines with {processes} processes each"
    print_block(title, extrapolate(per_run, runs, machines, processes, seconds))


if __name__ == "__main__":
    sys.exit(main())
