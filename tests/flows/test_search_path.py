"""The current folder comes last on the search path, and packages of ours are not hidden by a user's."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import search_path
from flows.search_path import OWN_FOLDER, PACKAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("before", "is_first", "after"),
    [
        (["{cwd}", "lib"], True, ["lib", "{own}", "{cwd}"]),
        (["", "lib"], True, ["lib", "{own}", "{cwd}"]),
        (["bin", "lib", "{own}"], True, ["bin", "lib", "{own}", "{cwd}"]),
        (["{cwd}", "{cwd}", "lib"], True, ["{cwd}", "lib", "{own}"]),  # the second comes from PYTHONPATH
        (["{cwd}", "lib"], False, ["{cwd}", "lib", "{own}"]),
        (["lib", "{own}", "{cwd}"], True, ["lib", "{own}", "{cwd}"]),
    ],
)
def test_the_folder_that_python_puts_first_comes_last_and_one_of_pythonpath_stays(
    before, is_first, after, monkeypatch, tmp_path
):
    def written(entries):
        return [entry.format(cwd=tmp_path, own=OWN_FOLDER) for entry in entries]

    monkeypatch.setattr(sys, "path", written(before))
    search_path.append_folder(str(tmp_path), is_first)
    assert sys.path == written(after)


def test_our_own_folder_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(sys, "path", [OWN_FOLDER, "lib"])
    search_path.append_folder(OWN_FOLDER, is_first=True)
    assert sys.path == [OWN_FOLDER, "lib"]


@pytest.mark.parametrize(("program", "last"), [("prefect.engine", True), ("flows.__main__", False)])
def test_prefects_order_is_undone_in_its_own_processes_alone(program, last, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "lib"])
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name=program)))
    search_path.undo_prefects_order()
    assert (sys.path[-1] == str(tmp_path)) == last


def keyhole(folder: Path, *words: str, path: tuple[Path, ...] = (ROOT,), module: bool = False):
    """Runs the command line in a folder: as the console script does, or with `python -m`."""
    start = ["-m", "flows"] if module else ["-P", "-c", "from flows.__main__ import main; main()"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    return subprocess.run(
        [sys.executable, *start, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", [False, True])
def test_modules_of_the_current_folder_hide_neither_ours_nor_libraries(module, tmp_path):
    theirs = [package for package in PACKAGES if not (module and package == "flows")]  # `-m flows` would run theirs
    for name in (*theirs, "click", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('theirs')\n")
    done = keyhole(tmp_path, "methods", "naive", module=module)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", ["agents", "envs", "routing"])
def test_a_package_that_comes_before_ours_gives_one_line(package, tmp_path):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    done = keyhole(ROOT, "methods", path=(tmp_path, ROOT))
    assert done.returncode == 2
    assert done.stderr == (
        f"keyhole: keyhole's package {package} is hidden by {tmp_path / package}; "
        "rename that, or take its folder off PYTHONPATH\n"
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("from envs import mine\n", ("check", "theirs:mine/World-v0")),
        ("import envs.mine\n", ("methods", "theirs:mine")),
    ],
)
def test_an_import_of_a_package_that_ours_hides_is_explained(source, words, tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "mine.py").touch()
    (tmp_path / "theirs.py").write_text(source)
    done = keyhole(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.endswith("keyhole's own package envs hides yours: rename yours\n")
    assert done.stderr.count("\n") == 1
