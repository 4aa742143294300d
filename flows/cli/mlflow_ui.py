"""Serves the MLflow UI of the project's runs, by default on loopback, with the columns that matter selected.

MLflow stores a shared view of an experiment in one of its tags, and the page's address names the view. The page opens
in MLflow's view for model training (see `flows.tracking.page_app`). On addresses
other than loopback, MLflow answers only to listed host names, which prevents DNS rebinding.
"""

import errno
import ipaddress
import json
import os
import socket
import sys
from importlib.metadata import entry_points

import psutil

from flows.errors import UserError
from flows.text import without_password
from flows.tracking.page_app import APP, EXPERIMENT
from flows.tracking.runs_view import PRIMARY_METRIC, VIEW, VIEW_TAG, view
from flows.tracking.store import Store

ALL_INTERFACES = ("0.0.0.0", "::")
WARNING = (
    "warning: anyone who can reach {address} can read, change and delete the runs, without a password; "
    "leave out --host to serve this machine only"
)


def serve_page(store: Store, host: str, port: int) -> None:
    """`keyhole ui`: replaces this process by MLflow's server on the project's store.

    Raises:
        UserError: The address cannot be bound.
    """
    for name, value in {VIEW_TAG: json.dumps(view()), **PRIMARY_METRIC}.items():
        store.client.set_experiment_tag(store.experiment, name, value)
    if store.uri.startswith("http"):
        print(f"MLflow UI: {without_password(store.uri).rstrip('/')}/#/{runs_path(store.experiment)}")
        return
    _check_free(host, port)
    names = server_names(host)
    if not is_loopback(host):
        print(f"keyhole: {WARNING.format(address=f'{host}:{port}')}", file=sys.stderr, flush=True)
        for name, value in allowed_hosts(names, port).items():
            os.environ.setdefault(name, value)
    print(f"MLflow UI of {store.project.mlruns} (ready in a few seconds; stop with Ctrl-C):", flush=True)
    print(page_url(names[0], port, store.experiment), flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    if APP in entry_points(group="mlflow.app").names:  # an installation of an earlier version has no such entry
        command += ["--app-name", APP]
    os.environ[EXPERIMENT] = store.experiment
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store.uri  # not an option: other users can read a command line
    os.execv(sys.executable, [*command, "--default-artifact-root", str(store.project.artifacts)])


def page_url(name: str, port: int, experiment: str) -> str:
    """The address of the list of runs."""
    return f"http://{name}:{port}/#/{runs_path(experiment)}"


def runs_path(experiment: str) -> str:
    """The path of the list of runs within the MLflow UI."""
    return f"experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_names(host: str) -> list[str]:
    """The names under which a browser can reach a server bound to `host`, the best one first."""
    if host not in ALL_INTERFACES:
        return [_bracketed(host)]
    addresses = [address.address for card in psutil.net_if_addrs().values() for address in card]
    numbers = [address.partition("%")[0] for address in addresses if _is_ip_address(address)]
    return list(dict.fromkeys([socket.gethostname(), socket.getfqdn(), "localhost", *map(_bracketed, numbers)]))


def allowed_hosts(names: list[str], port: int) -> dict[str, str]:
    """MLflow's environment variables for the host names it answers to and the origins it accepts."""
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{name}:{port}" for name in names),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}:{port}" for name in names),
    }


def _is_ip_address(text: str) -> bool:
    """Returns whether `text` is an IP address, not a hardware address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_free(host: str, port: int) -> None:
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=kind).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is in use; pass --port") from None
        raise UserError(f"cannot bind port {port} of {host} ({error.strerror}); pass --host or --port") from None
