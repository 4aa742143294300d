"""A shared database instead of the project's SQLite file: PostgreSQL, or an MLflow server over HTTP.

MLflow needs the driver in the address and waits minutes for a database that is down; this module adds the driver and
checks the connection first.
"""

from importlib.util import find_spec
from urllib.parse import urlsplit

from flows.errors import UserError
from flows.text import one_line

CONNECT_SECONDS = 10  # seconds
POSTGRES = ("postgresql", "postgres")
KINDS = (*POSTGRES, "http", "https")
FORM = "write --store postgresql://user:password@host:5432/name, or http://host:5000 of an MLflow server"


def database_uri(address: str) -> str:
    """Return the address in MLflow's form; raise UserError for any other kind of database."""
    kind, _, rest = address.partition("://")
    if kind.partition("+")[0] not in KINDS or not rest:
        raise UserError(f"--store: found {without_password(address)!r}; {FORM}")
    return f"postgresql+psycopg://{rest}" if kind in POSTGRES else address


def check_database(address: str) -> None:
    """Raise UserError if the database does not answer."""
    uri = database_uri(address)
    if uri.startswith("postgresql"):
        _check_postgres(uri)
    else:
        _check_server(uri)


def without_password(address: str) -> str:
    """Replace the password in an address by ***."""
    password = urlsplit(address).password
    return address.replace(f":{password}@", ":***@") if password else address


def _check_postgres(uri: str) -> None:
    if find_spec("psycopg") is None:
        raise UserError("--store: psycopg is not installed; pip install 'keyhole[postgres]'")
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(uri, connect_args={"connect_timeout": CONNECT_SECONDS}).connect().close()
    except (SQLAlchemyError, ValueError) as error:
        raise UserError(f"--store: {without_password(uri)} does not answer ({_first_line(error)})") from None


def _check_server(uri: str) -> None:
    from urllib.request import urlopen

    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"--store: {without_password(uri)} does not answer ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    """Return the first line of a driver's message, which may be long."""
    return one_line(str(error).partition("\n")[0], limit=200)
