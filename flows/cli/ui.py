"""MLflow's page on the project's runs: on loopback unless told, and opening on the columns that matter.

MLflow keeps a shared view of an experiment in one of its tags; the address names it. On its other addresses MLflow
answers only names that it was told, so that no page in somebody's browser can reach it under a name of its own.
"""

import errno
import ipaddress
import json
import os
import socket
import sys
from typing import Any

import psutil

from flows.errors import UserError
from flows.tracking.store import Store

VIEW = "keyhole"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
FIRST = {"attributes.`Run Name`": 290, "runDateAndNestInfo": 150, "duration": 80}  # always there; widths in pixels
COLUMNS = {
    "tags.`best`": 220,
    "tags.`method`": 150,
    "tags.`oversight`": 80,
    "tags.`seed`": 55,
    "metrics.`eval/true_return`": 125,
    "metrics.`eval/true_return/seen`": 160,
    "metrics.`eval/true_return/unseen`": 170,
    "tags.`knowledge`": 90,
    "tags.`exactness`": 90,
    "tags.`env`": 220,
}
ALL_INTERFACES = ("0.0.0.0", "::")
WARNING = (
    "warning: whoever reaches this machine at {address} can read, change and delete its runs, without a password; "
    "leave out --host to keep them to yourself"
)


def serve_page(store: Store, host: str, port: int) -> None:
    """`keyhole ui`: MLflow's server in this process's place, on the project's store.

    Raises:
        UserError: the address cannot be listened at.
    """
    store.client.set_experiment_tag(store.experiment, VIEW_TAG, json.dumps(view()))
    if store.uri.startswith("http"):
        print(f"MLflow's page: {store.uri.rstrip('/')}/#/{runs_path(store.experiment)}")
        return
    _check_free(host, port)
    names = server_names(host)
    if not is_loopback(host):
        print(f"keyhole: {WARNING.format(address=f'{host}:{port}')}", file=sys.stderr, flush=True)
        for name, value in allowed_hosts(names, port).items():
            os.environ.setdefault(name, value)
    print(f"MLflow's page of {store.project.mlruns} (in some seconds; Ctrl-C ends it):", flush=True)
    print(page_url(names[0], port, store.experiment), flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store.uri  # a command line would show its password to everybody
    os.execv(sys.executable, [*command, "--default-artifact-root", str(store.project.artifacts)])


def view() -> dict[str, Any]:
    """What MLflow's list of runs shows, in MLflow's words: newest first, our columns."""
    widths = {**FIRST, **COLUMNS}
    return {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(widths),
        "columnWidths": widths,
    }


def page_url(name: str, port: int, experiment: str) -> str:
    """Of the list of runs."""
    return f"http://{name}:{port}/#/{runs_path(experiment)}"


def runs_path(experiment: str) -> str:
    """The list of runs, below the address of MLflow's page."""
    return f"experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def is_loopback(host: str) -> bool:
    """Only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_names(host: str) -> list[str]:
    """What a browser may call a server that listens at `host`, the best name first."""
    if host not in ALL_INTERFACES:
        return [_bracketed(host)]
    found = [address.address for card in psutil.net_if_addrs().values() for address in card]
    numbers = [number.partition("%")[0] for number in found if _is_number(number)]
    return list(dict.fromkeys([socket.gethostname(), socket.getfqdn(), "localhost", *map(_bracketed, numbers)]))


def allowed_hosts(names: list[str], port: int) -> dict[str, str]:
    """MLflow's variables for the names that it answers to, and the pages that may send it something."""
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{name}:{port}" for name in names),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{name}:{port}" for name in names),
    }


def _is_number(text: str) -> bool:
    """An address of the internet protocol, and not one of a network card."""
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
        told = (
            "is taken; pass --port" if error.errno == errno.EADDRINUSE else f"cannot be listened at ({error.strerror})"
        )
        raise UserError(f"port {port} of {host} {told}") from None
