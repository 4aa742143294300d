"""Storage of the runs' files: a folder of the store, or an address that MLflow can write to.

A run always writes to a local folder. Without an address, the files stay there. With an address, MLflow uploads them
when the run ends, and a machine that lacks the folder downloads them from there.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from flows.errors import UserError
from flows.text import exception_line
from flows.tracking.client import RetryingClient

PACKAGES = {"s3": "boto3"}  # URI scheme -> package; the pip extra has the scheme's name


def check_artifact_uri(uri: str) -> None:
    """Raise UserError if the package that MLflow needs for this address is not installed."""
    scheme = uri.partition(":")[0]
    package = PACKAGES.get(scheme)
    if package and find_spec(package) is None:
        raise UserError(f"--artifacts {uri}: {package} is not installed; pip install 'keyhole[{scheme}]'")


def _run_folder(root: Path, run_id: str) -> Path:
    """Return the folder of a run; raise UserError if its id or a link leads out of the store."""
    path = root / run_id / "artifacts"
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"the folder of run {run_id!r} is not in {root}; the store is damaged or not made by keyhole")
    return path


def _remove(folder: Path) -> None:
    """Remove a folder, if it exists; raise UserError if it cannot be removed."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot delete {folder} ({error.strerror or error}); change its permissions") from None


class Artifacts(Protocol):
    """Access to the files of a store's runs."""

    def folder(self, info: Any) -> Path:
        """Return the local folder of an MLflow run; raise UserError if it is outside this store."""

    def has_files(self, info: Any) -> bool:
        """Return whether the files of an MLflow run exist, without downloading them."""

    def upload(self, run_id: str, folder: Path, below: str = "") -> None:
        """Store the content of `folder` with the run, in its subfolder `below`."""

    def delete(self, info: Any) -> None:
        """Remove the files of an MLflow run; nothing happens if there are none."""

    def source(self, info: Any, folder: Path) -> str:
        """Return the address of a folder inside the run's folder."""


class LocalArtifacts:
    """Files stay in the store's folder, wherever it has moved; nothing is uploaded."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, info: Any) -> Path:
        path = _run_folder(self.root, info.run_id)
        recorded = Path(info.artifact_uri)
        if not path.exists() and recorded.exists() and not recorded.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{recorded} is not in {self.root}; pass --mlruns DIR of the store it belongs to")
        return path

    def has_files(self, info: Any) -> bool:
        return self.folder(info).is_dir()

    def upload(self, run_id: str, folder: Path, below: str = "") -> None:
        return

    def delete(self, info: Any) -> None:
        _remove(self.folder(info).parent)

    def source(self, info: Any, folder: Path) -> str:
        return str(folder)


class RemoteArtifacts:
    """Files are uploaded to an address. Local copies under `root` stay until the run is deleted."""

    def __init__(self, root: Path, client: Any) -> None:
        self.root, self.client = root, client

    def folder(self, info: Any) -> Path:
        path = _run_folder(self.root, info.run_id)
        if not path.exists() and info.status != "RUNNING":
            self._fetch(info.run_id, path)
        return path

    def has_files(self, info: Any) -> bool:
        return _run_folder(self.root, info.run_id).is_dir() or bool(self.client.list_artifacts(info.run_id))

    def _fetch(self, run_id: str, path: Path) -> None:
        """Download all files or none: an incomplete folder would pass for a complete one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as temporary:
            download = Path(temporary) / "artifacts"
            download.mkdir()
            self.client.download_artifacts(run_id, "", str(download))
            download.rename(path)

    def upload(self, run_id: str, folder: Path, below: str = "") -> None:
        self.client.log_artifacts(run_id, str(folder), below or None)

    def delete(self, info: Any) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = RetryingClient(get_artifact_repository(info.artifact_uri), self.client.files)
        try:
            repository.delete_artifacts()
        except UserError:
            raise
        except Exception as error:  # of the library for this kind of address: no permission, no such bucket
            raise UserError(
                f"cannot delete the files of run {info.run_id} at {self.client.files} ({exception_line(error)})"
            ) from error
        _remove(_run_folder(self.root, info.run_id).parent)

    def source(self, info: Any, folder: Path) -> str:
        return f"{info.artifact_uri}/{folder.relative_to(self.folder(info)).as_posix()}"
