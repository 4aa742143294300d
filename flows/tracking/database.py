"""A database that many machines reach, in the place of the project's own file: PostgreSQL, or MLflow's server by http.

MLflow asks for the driver in the address, and waits minutes for a database that is not there: both are settled here.
"""

from importlib.util import find_spec
from urllib.parse import urlsplit

from flows.errors import UserError

CONNECT_SECONDS = 10  # seconds
POSTGRES = ("postgresql", "postgres")
KINDS = (*POSTGRES, "http", "https")
FORM = "write --store postgresql://user:password@host:5432/name, or http://host:5000 of an MLflow server"


def database_uri(said: str) -> str:
    """The address as MLflow takes it; raises UserError for any other kind of database."""
    kind, _, rest = said.partition("://")
    if kind.partition("+")[0] not in KINDS or not rest:
        raise UserError(f"--store: found {without_password(said)!r}; {FORM}")
    return f"postgresql+psycopg://{rest}" if kind in POSTGRES else said


def check_database(said: str) -> None:
    """Raises UserError if the database does not answer."""
    uri = database_uri(said)
    if uri.startswith("postgresql"):
        _check_postgres(uri)
    else:
        _check_server(uri)


def without_password(said: str) -> str:
    """The address without its password."""
    password = urlsplit(said).password
    return said.replace(f":{password}@", ":***@") if password else said


def _check_postgres(uri: str) -> None:
    if find_spec("psycopg") is None:
        raise UserError("--store: psycopg is not installed; pip install 'keyhole[postgres]'")
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(uri, connect_args={"connect_timeout": CONNECT_SECONDS}).connect().close()
    except (SQLAlchemyError, ValueError) as error:
        raise UserError(f"--store: {without_password(uri)} does not answer ({_line(error)})") from None


def _check_server(uri: str) -> None:
    from urllib.request import urlopen

    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"--store: {without_password(uri)} does not answer ({_line(error)})") from None


def _line(error: Exception) -> str:
    """The first line of what a driver says."""
    return " ".join(str(error).partition("\n")[0].split())[:200]
