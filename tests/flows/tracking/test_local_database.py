"""The local database after a process that wrote to it has been killed."""

import sqlite3
import subprocess
import sys

import pytest

from flows.errors import UserError
from flows.tracking import local_database

KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # pages are written before the commit
connection.execute("BEGIN")
connection.executemany("INSERT INTO mine VALUES (?)", [("x" * 5000,)] * 200)
os._exit(9)
"""


@pytest.fixture
def interrupted(tmp_path):
    """A database that is no store, with a transaction that a killed process left in its journal."""
    database = tmp_path / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE mine (text)")
    connection.close()
    assert subprocess.run([sys.executable, "-c", KILLED, database], check=False).returncode == 9
    assert (tmp_path / "mlflow.db-journal").stat().st_size
    return database


def test_an_interrupted_transaction_is_rolled_back_before_the_schema_is_checked(interrupted):
    with pytest.raises(UserError, match="is not an MLflow database"):
        local_database.check_schema(interrupted)


def test_a_copy_for_reading_has_no_part_of_an_interrupted_transaction(interrupted, tmp_path):
    (folder := tmp_path / "copy").mkdir()
    copy = local_database.copy_for_reading(interrupted, folder)
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    connection.close()
