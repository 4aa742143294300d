"""A run's cache key changes with every file and version that its numbers depend on, and with no other."""

import importlib
import sys
from pathlib import Path

import gymnasium
import pytest

import flows
import routing
from flows.config import TrainConfig
from flows.sweep.checks import check_run
from flows.tracking import cache_key, reuse
from flows.user_code import is_user_file, module_digests, user_modules
from tests.flows.user_worlds import write_module

TRAIN = "flows.running.train:run"
METHOD = '''
import routing
import user_sign

@routing.part("reward")
def user_reward(rollout):
    """The proxy reward with a sign from another module."""
    return user_sign.SIGN * rollout.rewards

routing.method("user_method", "Trains on the reward of this module.", reward="user_reward")
'''


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder on the module search path, whose modules are unloaded after the test; no other user code is loaded."""
    folder = tmp_path / "user"
    folder.mkdir()
    for name in user_modules():
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    gymnasium.registry.pop("user/Corridor-v0", None)
    routing.METHODS.pop("user_method", None)
    routing.PARTS["reward"].pop("user_reward", None)
    routing.find.cache_clear()


def digest_after_rehearsal(env: str, method: str = "naive") -> str:
    check_run(TrainConfig(env=env, method=method, training={"n_envs": 4}))
    return cache_key.code_digest(TrainConfig(env=env).env, TRAIN)


def edit(file: Path, old: str, new: str) -> None:
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, new))


def test_the_key_covers_a_world_class_of_a_second_module(user):
    write_module(user, "user_class", register="")
    (user / "user_entry.py").write_text("import user_class\nfrom envs.registration import register\n"
                                        'register(user_class.Corridor, "user")\n')  # fmt: skip
    before = digest_after_rehearsal("user_entry:user/Corridor-v0")
    edit(user / "user_class.py", "LOSS = -1.0", "LOSS = -5.0")
    assert cache_key.code_digest("user_entry:user/Corridor-v0", TRAIN) != before


def test_the_key_covers_the_module_that_a_method_or_a_part_names(user):
    (user / "user_sign.py").write_text("SIGN = 1\n")
    (user / "user_methods.py").write_text(METHOD)
    for method in ("user_methods:user_method", "naive(reward=user_methods:user_reward)"):
        before = digest_after_rehearsal("keyhole/DiamondGhost-v0", method)
        edit(user / "user_methods.py", "import user_sign\n", "import user_sign\n# edited\n")
        between = cache_key.code_digest("envs:keyhole/DiamondGhost-v0", TRAIN)
        edit(user / "user_sign.py", "SIGN = ", "SIGN = -")
        assert len({before, between, cache_key.code_digest("envs:keyhole/DiamondGhost-v0", TRAIN)}) == 3


def test_the_key_covers_the_package_of_an_installed_method(user, monkeypatch):
    """An installed distribution is no user code."""
    (user / "user_methods").mkdir()
    (user / "user_methods" / "__init__.py").write_text("")
    (user / "user_methods" / "sign.py").write_text("SIGN = 1\n")
    source = METHOD.replace("import user_sign", "from user_methods import sign as user_sign")
    (user / "user_methods" / "inner.py").write_text(source)
    monkeypatch.setattr("flows.user_code.is_user_file", lambda file: False)
    before = digest_after_rehearsal("keyhole/DiamondGhost-v0", "user_methods.inner:user_method")
    edit(user / "user_methods" / "sign.py", "SIGN = 1", "SIGN = 2")
    assert cache_key.code_digest("envs:keyhole/DiamondGhost-v0", TRAIN) != before


def test_the_key_covers_a_method_of_a_second_module(user):
    (user / "user_sign.py").write_text("SIGN = 1\n")
    (user / "user_methods.py").write_text(METHOD)
    env = write_module(user, "user_world", ("import numpy as np\n", "import numpy as np\nimport user_methods\n"))
    before = digest_after_rehearsal(env, "user_method")
    edit(user / "user_sign.py", "1", "-1")
    assert cache_key.code_digest(env, TRAIN) != before


@pytest.mark.parametrize("function", ["return self.terminal(next_state)", "return np.where(next_state[:, 0] == 0"])
def test_the_key_covers_a_module_imported_inside_a_function(user, function):
    (user / "user_lazy.py").write_text("X = 1\n")
    env = write_module(user, "user_world", (function, f"import user_lazy; {function}"))
    before = digest_after_rehearsal(env)
    edit(user / "user_lazy.py", "1", "2")
    assert cache_key.code_digest(env, TRAIN) != before


def test_the_key_covers_a_module_that_only_the_figures_of_a_run_import(user):
    (user / "user_lazy.py").write_text("X = 1\n")
    layout = "    def layout(self, state):\n        import user_lazy\n        return None\n\n"
    env = write_module(user, "user_world", ("    def terminal(", f"{layout}    def terminal("))
    before = digest_after_rehearsal(env)
    assert "user_lazy" in sys.modules
    edit(user / "user_lazy.py", "1", "2")
    assert cache_key.code_digest(env, TRAIN) != before


def test_the_key_covers_a_member_of_a_zip_archive(user, monkeypatch):
    import zipfile

    def pack(value: int) -> None:
        with zipfile.ZipFile(user / "user_zip.zip", "w") as archive:
            archive.writestr("user_zipped.py", f"X = {value}\n")

    pack(1)
    monkeypatch.syspath_prepend(user / "user_zip.zip")
    importlib.import_module("user_zipped")
    before = module_digests()["user_zipped"]
    pack(2)
    importlib.invalidate_caches()
    del sys.modules["user_zipped"]
    importlib.import_module("user_zipped")
    assert module_digests()["user_zipped"] != before


def test_the_key_covers_the_versions_of_imported_distributions_and_of_what_they_require(user, monkeypatch):
    env = write_module(user, "user_world", ("import numpy as np\n", "import numpy as np\nimport rich\n"))
    before = digest_after_rehearsal(env)
    installed = cache_key.version
    for distribution, covered in (("rich", True), ("pygments", True), ("prefect", False)):
        changed = {distribution: "0"}
        monkeypatch.setattr(cache_key, "version", lambda name, new=changed: new.get(name) or installed(name))
        assert (cache_key.code_digest(env, TRAIN) != before) is covered


FLOWS = Path(flows.__file__).parent


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        *((file, False) for file in ("text.py", "cli/main.py", "sweep/checks.py", "tracking/store.py", "config.py")),
        *((file, True) for file in ("running/train.py", "../agents/build.py", "../envs/world.py")),
        ("../routing/methods/naive.py", True),
    ],
)
def test_the_key_covers_our_code_where_it_can_change_a_number(file, changes, monkeypatch):
    before = cache_key.code_digest("envs:keyhole/TMaze-v0", TRAIN)
    read, edited = Path.read_bytes, (FLOWS / file).resolve()
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"#" * (self.resolve() == edited))
    assert (cache_key.code_digest("envs:keyhole/TMaze-v0", TRAIN) != before) is changes


@pytest.mark.parametrize("module", ["json", "numpy", "torch", "flows.text", "envs.world", "pytest"])
def test_libraries_and_our_packages_are_not_user_code(module):
    assert not is_user_file(importlib.import_module(module).__file__)


def test_a_run_that_imported_a_further_module_is_not_reused(store):
    run = TrainConfig(seed=11)
    key = cache_key.run_key(run, "code")
    with store.run("run", {}, {**run.tags, cache_key.CACHE_KEY: key}) as record:
        pass
    assert reuse.find_equal_run(store, key) is not None
    record.tags(cache_key.not_reusable_tags({"mine": "a"}, {"mine": "a", "further": "b"}))
    assert store.client.get_run(record.run_id).data.tags["not_reusable"] == "imported further while it trained"
    assert reuse.find_equal_run(store, key) is None


def test_a_module_that_differs_on_the_worker_makes_a_run_not_reusable():
    assert cache_key.not_reusable_tags({"mine": "a"}, {"mine": "b"})
    assert not cache_key.not_reusable_tags({"mine": "a", "unused": "c"}, {"mine": "a"})
