"""The libraries that reach a store still write the texts by which a lost store is recognised."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows.tracking.client import AWAY
from tests.flows.postgres import free_port, postgres


def recognised(error: BaseException) -> list[str]:
    """The texts of AWAY that an error's message contains."""
    return [text for text in AWAY if text in str(error)]


class Unavailable(BaseHTTPRequestHandler):
    """Answers every request with the status that the server was given."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_) -> None: ...


@pytest.fixture
def mlflow_client(monkeypatch):
    """Makes MLflow's client of an address; it repeats no request."""
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return lambda address: MlflowClient(tracking_uri=address, registry_uri=address)


def test_mlflows_client_reports_a_server_that_is_gone_as_we_read_it(mlflow_client):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as error:
        mlflow_client(f"http://127.0.0.1:{free_port()}").search_experiments()
    assert recognised(error.value) == ["failed with exception"]


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_mlflows_client_reports_an_unavailable_server_as_we_read_it(mlflow_client, status):
    from mlflow.exceptions import MlflowException

    server = ThreadingHTTPServer(("127.0.0.1", 0), Unavailable)
    server.status = status
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(MlflowException) as error:
            mlflow_client(f"http://127.0.0.1:{server.server_port}").search_experiments()
    finally:
        server.shutdown()
        server.server_close()
    assert recognised(error.value)


def test_mlflows_client_reports_a_timeout_as_we_read_it(mlflow_client, monkeypatch):
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(MlflowException) as error:
        mlflow_client(f"http://127.0.0.1:{silent.getsockname()[1]}").search_experiments()
    assert recognised(error.value)


def test_psycopg_reports_an_unknown_host_as_we_read_it():
    psycopg = pytest.importorskip("psycopg")
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect("postgresql://keyhole@no-such-host.invalid/keyhole")
    assert recognised(error.value) == ["failed to resolve host"]


@pytest.mark.parametrize("name", ["ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"])
def test_boto3_reports_a_lost_connection_as_we_read_it(name):
    exceptions = pytest.importorskip("botocore.exceptions")
    assert recognised(getattr(exceptions, name)(endpoint_url="http://s3"))


def test_psycopg_reports_a_server_that_is_gone_as_we_read_it():
    psycopg = pytest.importorskip("psycopg")
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect(f"postgresql://keyhole@127.0.0.1:{free_port()}/keyhole")
    assert recognised(error.value) == ["connection to server at "]


@pytest.fixture
def hanging_up() -> Iterator[int]:
    """The port of a server that closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_psycopg_reports_a_server_that_hangs_up_as_we_read_it(hanging_up):
    psycopg = pytest.importorskip("psycopg")
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect(f"postgresql://keyhole@127.0.0.1:{hanging_up}/keyhole")
    assert recognised(error.value)


@pytest.mark.slow
def test_psycopg_reports_a_server_that_stops_during_a_session_as_we_read_it():
    psycopg = pytest.importorskip("psycopg")
    with postgres("mlflow") as address:
        first, second = (psycopg.connect(f"{address}/mlflow", autocommit=True) for _ in range(2))
        first.execute("select pg_terminate_backend(%s)", [second.info.backend_pid])
        with pytest.raises(psycopg.OperationalError) as ended:
            second.execute("select 1")
        assert {"terminating connection", "server closed the connection"} & {*recognised(ended.value)}
        with pytest.raises(psycopg.OperationalError) as later:
            second.execute("select 1")
        assert recognised(later.value) == ["the connection is closed"]
        with pytest.raises(psycopg.OperationalError) as lost:
            second.pgconn.socket  # noqa: B018
        assert recognised(lost.value) == ["connection is lost"]
        first.close()


def test_boto3_reports_a_server_that_is_gone_as_we_read_it():
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config
    from botocore.exceptions import EndpointConnectionError

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{free_port()}", aws_access_key_id="me", aws_secret_access_key="secret",
        region_name="us-east-1", config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    with pytest.raises(EndpointConnectionError) as error:
        client.list_objects_v2(Bucket="keyhole")
    assert recognised(error.value) == ["Could not connect to the endpoint URL"]
