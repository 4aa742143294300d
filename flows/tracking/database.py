"""A shared database instead of the project's SQLite file: PostgreSQL, or an MLflow server over HTTP.

MLflow needs the driver in the address and waits minutes for a database that is down; this module adds the driver and
checks the connection first.
"""

import re
from base64 import b64encode
from http.client import HTTPException
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from flows.errors import UserError
from flows.text import one_line, without_password

if TYPE_CHECKING:
    from urllib.request import Request

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


def without_passwords(text: str) -> str:
    """Remove the user and password of every address in a text."""
    return re.sub(r"//[^/@\s]*:[^/@\s]*@", "//***@", text)


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
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        urlopen(_health_request(uri), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise UserError(f"--store: {without_password(uri)} does not answer ({_first_line(error)})") from None


def _health_request(uri: str) -> "Request":
    """Build a request with the user and password of the address as a header: urllib takes none in an address."""
    from urllib.request import Request

    parts = urlsplit(uri)
    login, _, host = parts.netloc.rpartition("@")
    headers = {"Authorization": f"Basic {b64encode(unquote(login).encode()).decode()}"} if login else {}
    return Request(f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health", headers=headers)


def _first_line(error: Exception) -> str:
    """Return the first line of a driver's message, which may be long."""
    return one_line(without_passwords(str(error)).partition("\n")[0], limit=200)
