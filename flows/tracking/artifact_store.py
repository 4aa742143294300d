"""Where the files of runs are kept: in a folder of the store, or at an address that MLflow can write to.

A run always writes to a folder. In the first case that folder is where its files stay; in the second they are sent
to the address when the run ends, and fetched from there by whoever does not have the folder.
"""

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from flows.errors import UserError

PACKAGES = {"s3": "boto3"}  # by scheme; the extra has the scheme's name


def check_artifact_uri(uri: str) -> None:
    """Raises UserError if what MLflow needs to write there is not installed."""
    scheme = uri.partition(":")[0]
    package = PACKAGES.get(scheme)
    if package and find_spec(package) is None:
        raise UserError(f"--artifacts {uri}: {package} is not installed; pip install 'keyhole[{scheme}]'")


class Artifacts(Protocol):
    """The files of a store's runs."""

    def folder(self, info: Any) -> Path:
        """The folder of an MLflow run; raises UserError if it is not one of this store."""

    def upload(self, run_id: str, folder: Path, below: str = "") -> None:
        """What is in `folder` is kept with the run, under `below`."""

    def source(self, info: Any, folder: Path) -> str:
        """The address of a folder inside the run's own."""


class LocalArtifacts:
    """The store's own folder: a file written is a file kept."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, info: Any) -> Path:
        path = Path(info.artifact_uri)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{path} is not in {self.root}; pass --mlruns DIR of the store it belongs to")
        return path

    def upload(self, run_id: str, folder: Path, below: str = "") -> None:
        return

    def source(self, info: Any, folder: Path) -> str:
        return str(folder)


class RemoteArtifacts:
    """An address. What was written here stays here as well, under `root`, until somebody removes it."""

    def __init__(self, root: Path, client: Any) -> None:
        self.root, self.client = root, client

    def folder(self, info: Any) -> Path:
        path = self.root / info.run_id / "artifacts"
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{info.run_id!r} is no run id; the store is damaged, or not keyhole's")
        if not path.exists() and info.status != "RUNNING":
            self._fetch(info.run_id, path)
        return path

    def _fetch(self, run_id: str, path: Path) -> None:
        """All or nothing: half of a run's files would pass for all of them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as half:
            fetched = Path(half) / "artifacts"
            fetched.mkdir()
            self.client.download_artifacts(run_id, "", str(fetched))
            fetched.rename(path)

    def upload(self, run_id: str, folder: Path, below: str = "") -> None:
        self.client.log_artifacts(run_id, str(folder), below or None)

    def source(self, info: Any, folder: Path) -> str:
        return f"{info.artifact_uri}/{folder.relative_to(self.folder(info)).as_posix()}"
