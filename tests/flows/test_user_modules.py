"""Worlds, methods and parts of a folder outside of the repository, and of an installed distribution."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import routing
from flows.config import CompareConfig, TrainConfig
from tests.flows.third_party import write_distribution, write_limits, write_methods
from tests.flows.user_worlds import write_module

ROOT = Path(__file__).parents[2]
THIRD_PARTIES = ("mine", "hazy", "theirs", "world")
ARMS = (
    "naive",
    "mine:mine_method",
    "naive(weights=mine:mine_part(0.5))",
    "gradient_routing(weights=mine:mine_part(0.5),baseline=none)@length=7",
    "theirs_method",
    "theirs.methods:theirs_method(baseline=none)",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of a user's, with modules and packages named like ours, and one where a distribution is installed."""
    folder, site = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("site")
    write_methods(folder, "mine", "mine_method", "mine_part")
    write_limits(folder, "hazy", "hazy")
    write_module(folder, "world")
    for name in ("agents", "envs", "routing"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('theirs')\n")
    write_distribution(site, "theirs", "theirs_method", "theirs_part")
    return folder, site


def command(folders: tuple[Path, Path], *words: str) -> subprocess.CompletedProcess:
    folder, site = folders
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "KEYHOLE"))}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runner", "env", "limits"),
    [
        ("processes", "world:user/Corridor-v0", "hazy:hazy(0.25)|hazy:hazy_count"),
        ("dask", "theirs/Corridor-v0", "theirs_limit(0.25)|theirs_limit_count"),
    ],
)
def test_they_train_in_every_kind_of_worker_and_their_names_survive(runner, env, limits, folders):
    store = f"mlruns-{runner}"
    words = ["--preset", "smoke", "--seeds", "1", "--oversight", "0.5", "--n-steps", "8", "--runner", runner]
    words += ["--mlruns", store, "--env", env, "--name", runner, "--overseer", limits]
    done = command(folders, "compare", *words, "--methods", ",".join(ARMS), "--reference", "mine:mine_method")
    assert (done.returncode, done.stderr) == (0, "")
    (results,) = (folders[0] / store).rglob("results.csv")
    with results.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"FINISHED"}
    assert {row["method"] for row in rows} == set(ARMS)
    (page,) = (folders[0] / store).rglob("report.html")
    assert all(arm.partition("(")[0] in page.read_text() for arm in ARMS)
    assert limits in page.read_text()
    if runner == "processes":
        again = command(folders, "compare", *words, "--methods", ",".join(ARMS), "--reference", "mine:mine_method")
        assert "nothing" in again.stdout, again.stdout + again.stderr
    listed = command(folders, "runs", runner, "--mlruns", store)
    assert sorted(line.split("\t")[1] for line in listed.stdout.splitlines()[1:]) == sorted(ARMS)  # in order of start


@pytest.mark.slow
def test_lists_show_where_each_thing_comes_from(folders):
    worlds = command(folders, "envs").stdout
    assert "from keyhole:\n  keyhole/AbsentSupervisor-v0" in worlds
    assert "from theirs-dist 1.2:\n  theirs/Corridor-v0" in worlds
    assert "from world.py:\n  world:user/Corridor-v0" in worlds
    limits = command(folders, "limits").stdout
    assert "theirs.limits:theirs_limit(rate=0.5)" in limits
    assert "(from theirs-dist 1.2)" in limits
    assert "hazy:hazy" in limits
    methods = command(folders, "methods").stdout
    assert "from theirs-dist 1.2:\n  theirs.methods:theirs_method  Naive oversight with drawn weights." in methods
    assert "from mine.py:\n  mine:mine_method  Naive oversight with drawn weights." in methods
    parts = command(folders, "methods", "--parts").stdout
    assert "  mine:mine_part" in parts
    assert "(from mine.py)" in parts
    assert "theirs.methods:theirs_part(spread=1.0)" in parts
    assert command(folders, "methods", "mine:mine_method").stdout.startswith("part")


@pytest.fixture
def user(folders, checkout, monkeypatch):
    """The folder and the distribution on this process's search path; what they register is forgotten afterwards."""
    from routing.oversight import plugins

    for folder in folders:
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "path", [*sys.path[2:], *sys.path[:2]])
    plugins.load_entry_points.cache_clear()
    yield checkout
    for registry in (routing.METHODS, routing.LIMITS, *routing.PARTS.values()):
        for name in [
            name for name, entry in registry.items() if entry.module.split(".")[0] in ("mine", "hazy", "theirs")
        ]:
            del registry[name]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mine", "hazy", "theirs", "world")]:
        del sys.modules[name]
    routing.find.cache_clear()
    plugins.load_entry_points.cache_clear()


def test_a_world_of_a_distribution_is_recorded_with_its_module_so_that_every_worker_finds_it(user):
    assert TrainConfig(env="theirs/Corridor-v0").env == "theirs.worlds:theirs/Corridor-v0"
    assert TrainConfig(env="theirs.worlds:theirs/Corridor-v0").env == "theirs.worlds:theirs/Corridor-v0"
    assert TrainConfig(env="CartPole-v1").env == "CartPole-v1"
    assert TrainConfig(env="theirs/None-v0").env == "theirs/None-v0"


def test_a_record_lists_the_runs_of_modules_that_are_not_there():
    names = ("gone:a", "gone:a(deploy=early_stopping)", "naive(weights=gone:w(2),deploy=whole)", "gone:a@size=3")
    runs = CompareConfig(methods=names, oversight=(0.1,), seeds=1).runs()
    assert [run.label for run in runs] == ["gone:a", names[2], "gone:a@size=3"]


def test_rules_of_arms_that_share_a_run_keep_their_module(user):
    routing.find("mine:mine_method")
    names = ("mine:mine_method", "mine:mine_method(deploy=best_checkpoint)", "naive(weights=mine:mine_part)")
    (run,) = CompareConfig(methods=names, oversight=(0.1,), seeds=1).runs()
    assert (run.label, run.method) == ("mine:mine_method", "mine:mine_method")


BAD = {
    "unknown module": (["--methods", "naive,no_module:x"], "no_module:x: no module named 'no_module'"),
    "unknown name": (["--methods", "mine:mine_methd"], "registers no method 'mine_methd'; it registers mine_method"),
    "name of ours": (["--methods", "mine:naive"], "routing.methods.naive does: write 'naive'"),
    "unknown part": (["--methods", "naive(weights=mine:x)"], "registers no weights 'x'; it registers mine_part"),
    "part of a kind": (["--methods", "naive(masks=mine:mine_part)"], "registers no masks 'mine_part'"),
    "package of ours": (["--methods", "envs:x"], "rename your module: this name is taken"),
    "module with a suffix": (["--methods", "mine.py:mine_method"], "write the module's name without .py: mine"),
    "module without a name": (["--methods", "mine:"], "is not of the form MODULE:NAME"),
    "one arm twice": (["--methods", "mine:mine_method,naive(weights=mine:mine_part)"], "are the same composition"),
    "unknown world": (["--env", "theirs/Coridor-v0"], "did you mean 'theirs/Corridor-v0'?"),
    "module of a world": (["--env", "no_module:x/World-v0"], "no module named 'no_module'; is it installed, in the"),
    "unknown limit": (["--overseer", "hazy:haze"], "module 'hazy'"),
    "value of a limit": (["--overseer", "hazy:hazy(often)"], "rate is 'often', which is not of type"),
    "module of a limit": (["--overseer", "no_module:x"], "--overseer: no_module:x: no module named 'no_module'"),
    "value of a part": (["--methods", "naive(weights=mine:mine_part(yes))"], "spread is 'yes', which is not of type"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_line_before_anything_is_trained(case, user, keyhole):
    words, message = BAD[case]
    code, out, err = keyhole("compare", *words)
    assert message in err
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (user / "mlruns" / "mlflow.db").exists()
