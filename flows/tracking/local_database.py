"""The SQLite file of a local store: created private, checked, re-rooted after a move, and read where it is read-only.

MLflow writes absolute paths into its database. When the store's folder has moved, they lead nowhere. Keyhole itself
always reads `<mlruns>/artifacts/<run>/artifacts`; the MLflow UI and models need the paths in the database.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from flows.errors import UserError
from flows.shell import mlflow_command
from flows.text import one_line

LOCATIONS = (  # table and column of every absolute path
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
RUNNING_IDS = "SELECT run_uuid FROM runs WHERE status = 'RUNNING'"
RUNNING = "SELECT t.run_uuid, t.key, t.value FROM tags t JOIN runs r USING (run_uuid) WHERE r.status = 'RUNNING'"
Alive = Callable[[Mapping[str, str]], bool | None]


def create_private(database: Path) -> None:
    """Create the file, if it is missing, so that only its owner can read it; SQLite's other files inherit the mode."""
    with suppress(FileExistsError):  # an existing one is not opened: closing it would end SQLite's locks
        os.close(os.open(database, os.O_CREAT | os.O_EXCL, 0o600))


def is_read_only(database: Path) -> bool:
    """Return whether an existing database cannot be written, or its folder cannot."""
    return database.exists() and not (os.access(database, os.W_OK) and os.access(database.parent, os.W_OK))


def copy_for_reading(database: Path, folder: Path) -> Path:
    """Copy the database with its journal to a writable folder: SQLite needs to write a journal to read one."""
    for suffix in ("", "-wal", "-journal"):
        source = database.with_name(database.name + suffix)
        if source.exists():
            shutil.copyfile(source, folder / source.name)
    return folder / database.name


def check_schema(database: Path) -> None:
    """Check that the installed MLflow can open the file, before MLflow changes it.

    Raises:
        UserError: the file is damaged, or another version of MLflow made its tables.
    """
    mode = "ro" if is_read_only(database) else "rw"  # only "rw" rolls back what a killed process left unfinished
    uri = f"file:{_quote(database)}?mode={mode}"
    with _explained(database), closing(sqlite3.connect(uri, uri=True)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        found = connection.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
        revisions = [revision for (revision,) in found]
    if tables and not revisions:
        raise UserError(f"{database} is not an MLflow database; move it away or pass --mlruns DIR")
    head, known = _mlflow_revisions()
    if revisions and revisions != [head]:
        if not set(revisions) <= known:
            raise UserError(f"{database} was made by a newer version of MLflow; install that version")
        raise UserError(
            f"{database} was made by an older version of MLflow; back it up, then run "
            + mlflow_command("db", "upgrade", f"sqlite:///{database}")
        )


def reroot(database: Path, artifacts: Path, experiment: str, is_alive: Alive) -> str | None:
    """Replace the old folder in every path of a store that has moved, in one transaction.

    Nothing changes unless the old folder is gone, the database can be locked, and every run under way is known to have
    lost its process.

    Args:
        database: the SQLite file.
        artifacts: the folder of the runs' files now.
        experiment: name of the experiment whose artifact location is the old folder.
        is_alive: returns whether the process named by tags lives, None if unknown.

    Returns:
        The old folder, or None if nothing was changed.
    """
    with _explained(database), closing(sqlite3.connect(database, timeout=1, isolation_level=None)) as connection:
        old = _location(connection, experiment)
        if not old or ":/" in old or Path(old) == artifacts or Path(old).exists():
            return None
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:  # in use; a later command will do it
            return None
        tags: dict[str, dict[str, str]] = {run: {} for (run,) in connection.execute(RUNNING_IDS)}
        for run, key, value in connection.execute(RUNNING):
            tags[run][key] = value
        if any(is_alive(of_run) is not False for of_run in tags.values()):
            connection.execute("ROLLBACK")
            return None
        for table, column in LOCATIONS:
            for prefix in ("", "file://"):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (
                        f"{prefix}{artifacts}",
                        len(prefix + old) + 1,
                        prefix + old,
                        len(prefix + old) + 1,
                        f"{prefix}{old}/",
                    ),
                )
        connection.execute("COMMIT")
        return old


def place_run(database: Path, run_id: str, folder: Path) -> None:
    """Write the folder of a run to the database of a store whose recorded folder belongs to another store."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (str(folder), run_id))


def _location(connection: sqlite3.Connection, experiment: str) -> str:
    """Return the artifact location of an experiment; empty for a database without it."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
        return ""
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    return (connection.execute(query, (experiment,)).fetchone() or [""])[0] or ""


def _mlflow_revisions() -> tuple[str | None, set[str]]:
    """Return the newest schema revision of the installed MLflow, and all that it can upgrade."""
    import mlflow
    from alembic.script import ScriptDirectory

    migrations = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return migrations.get_current_head(), {script.revision for script in migrations.walk_revisions()}


def _quote(path: Path) -> str:
    """Quote a path for SQLite's URI."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


@contextmanager
def _explained(database: Path) -> Iterator[None]:
    """Turn SQLite's error about a damaged file into one line that names what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise UserError(damaged(str(database), error)) from None


def damaged(database: str, error: Exception) -> str:
    """Return the message for a damaged database."""
    return (
        f"{database} is damaged ({one_line(error, limit=120)}); move it away and restore a backup, "
        "or recover it with `sqlite3 FILE .recover`"
    )
