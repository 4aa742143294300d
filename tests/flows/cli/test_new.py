"""`keyhole new` writes files that work as they are, and refuses names that could not be used."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from flows.cli.new import KINDS, TEMPLATES, renamed, title
from tests.flows import forked

ROOT = Path(__file__).parents[3]


def test_every_template_has_a_test_and_both_have_a_docstring():
    for template in KINDS.values():
        for prefix in ("", "test_"):
            assert (TEMPLATES / f"{prefix}{template.module}.py").read_text().startswith('"""')


@pytest.mark.parametrize("kind", KINDS)
def test_both_files_are_written_under_the_new_name_alone(kind, keyhole, checkout):
    code, out, err = keyhole("new", kind, "dark_vault")
    assert (code, err) == (0, "")
    assert out.startswith("wrote dark_vault.py and test_dark_vault.py; next:\n")
    for name in ("dark_vault.py", "test_dark_vault.py"):
        source = (checkout / name).read_text()
        compile(source, name, "exec")
        assert "dark_vault" in source or "DarkVault" in source
        assert not re.search("my_|My[A-Z]", source)


def test_a_class_is_named_after_the_module():
    assert renamed("class MyWorld: my_world", "my_world", "dark_vault") == "class DarkVault: dark_vault"
    assert [title(name) for name in ("maze", "my_maze", "T_maze", "x2")] == ["Maze", "MyMaze", "TMaze", "X2"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2d", "'2d' is not a name for a module"),
        ("my-world", "'my-world' is not a name for a module"),
        ("../x", "is not a name for a module"),
        ("class", "'class' is not a name for a module"),
        ("__", "is not a name for a module"),
        ("größe", "is not a name for a module"),
        ("envs", "'envs' is the name of a package of keyhole's"),
        ("random", "'random' is the name of a module of the standard library"),
        ("numpy", "'numpy' is the name of an installed module ("),
        ("np", "'np' is the name of something that the module imports"),
        ("naive", "method 'naive' is already registered"),
        ("taken", "taken.py exists already; choose another name, or replace it with --force"),
    ],
)
def test_a_name_that_cannot_be_used_gives_one_line_and_writes_nothing(name, message, keyhole, checkout):
    (checkout / "taken.py").write_text("")
    before = sorted(checkout.iterdir())
    code, out, err = keyhole("new", "method", name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(checkout.iterdir()) == before
    assert (checkout / "taken.py").read_text() == ""


def test_files_are_replaced_by_force_alone(keyhole, checkout):
    (checkout / "test_vault.py").write_text("mine")
    assert keyhole("new", "world", "vault")[0] == 2
    assert not (checkout / "vault.py").exists()
    assert keyhole("new", "world", "vault", "--force")[0] == 0
    assert (checkout / "test_vault.py").read_text().startswith('"""')


def test_an_unknown_kind_gives_one_line(keyhole, checkout):
    code, _, err = keyhole("new", "wrld", "vault")
    assert (code, err.count("\n")) == (2, 1)


SMALL = {"world": "", "method": " --set size=3 --seeds 1", "limit": " --set size=3 --seeds 1"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_printed_commands_work_as_printed(kind, tmp_path):
    """The commands of `keyhole compare` in the default world are made smaller."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    written = forked.keyhole(tmp_path, environment, "new", kind, "dark_vault")
    assert written.returncode == 0, written.stderr
    for line in written.stdout.splitlines()[1:]:
        program, *words = shlex.split(line + SMALL[kind] if " compare " in line else line)
        if program.endswith("keyhole"):
            done = forked.keyhole(tmp_path, environment, *words)
        else:
            done = subprocess.run([program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
