from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.project import ARTIFACTS, MLRUNS, STORE, Project
from flows.tracking.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of runs, shared by the tests because creating its tables takes seconds."""
    root = tmp_path_factory.mktemp("project")
    store = Store(Project(root, root / "mlruns"))
    assert store.experiment
    return store


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as current directory, with no environment variables set by a user."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in (MLRUNS, STORE, ARTIFACTS, "PREFECT_API_URL"):
        monkeypatch.setenv(name, "")  # restores the variable after the test
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    return tmp_path


@pytest.fixture
def keyhole(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Runs a command line in this process; returns exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["keyhole", *words])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """One project for all sweeps of this file, because creating its databases takes seconds."""
    root = tmp_path_factory.mktemp("project")
    (root / ".git").mkdir()
    return root
