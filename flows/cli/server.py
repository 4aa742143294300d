"""The command `keyhole server`."""

from time import sleep

import click
from rich.console import Console

from flows.prefect_server.server import Server, ServerError
from flows.project import current_project


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    help="port to bind  [default: that of the last start, or a free one]",
)
def server(port: int | None) -> None:
    """Run the project's Prefect server until Ctrl-C, or share the one that runs already.

    The server accepts requests of this machine's programs and of its own page, not of other web pages.
    """
    own = Server(current_project().prefect_home)
    try:
        with Console().status("Prefect server starting"):
            own.start_own(port)
            own.wait()
        click.echo(f"Prefect UI: {own.page} (API: {own.url}; log: {own.log})\nCtrl-C stops the server.")
        while own.found_own():
            sleep(0.5)
        raise ServerError(f"Prefect's server at {own.page} ended; see {own.log}")
    except KeyboardInterrupt:
        own.leave()
        click.echo(
            f"other processes of keyhole use {own.page}; it stops with the last" if own.found_own() else "stopped"
        )
    finally:
        own.leave()
