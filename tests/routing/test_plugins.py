"""Methods and parts of other modules: by module name, by entry points, and what goes wrong."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

import routing
from routing.oversight import plugins
from routing.oversight.controls import controls, with_parts

MODULE = '''
from routing import Rollout, method, part

@part("weights")
def third_weights(rollout: Rollout, factor: float = 2.0):
    """Constant weights."""
    return factor + 0 * rollout.rewards

method("third_method", "Constant weights.", base="naive", weights="third_weights(3)")
'''
BAD_MODULES = {  # source of the module third_bad, and what the error for third_bad:wanted states
    "raises": ("1 / 0", "third_bad:wanted: importing third_bad failed: ZeroDivisionError: division by zero ({file}:1)"),
    "exits": ("import sys\nsys.exit('bye')", "importing third_bad failed: SystemExit: bye ({file}:2)"),
    "syntax error": ("x = = 1", "importing third_bad failed: SyntaxError: invalid syntax ({file}:1)"),
    "missing import": ("import no_such", "ModuleNotFoundError: No module named 'no_such' ({file}:1)"),
    "circular import": ("from third_bad import wanted", "partially initialized module 'third_bad'"),
    "circular base": (
        "from routing import method\nmethod('mine', 'Mine.', base='third_bad:wanted')",
        "module 'third_bad' ({file}) registers no method 'wanted'; it registers none",
    ),
    "name of ours": (
        "from routing import method\nmethod('naive', 'Mine.')",
        "ValueError: method 'naive' is already registered by routing.methods.naive; choose another name ({file}:2)",
    ),
    "another name": (
        "from routing import method\nmethod('wnted', 'Mine.')",
        "module 'third_bad' ({file}) registers no method 'wanted'; it registers wnted",
    ),
    "unknown part": ("from routing import method\nmethod('wanted', '.', weights='ipv')", "did you mean 'ipw'?"),
    "several lines": ("raise RuntimeError('a\\nb')", "RuntimeError: a b ({file}:1)"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder on the module search path; what its modules register is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for registry in (routing.METHODS, *routing.PARTS.values()):
        for name in [name for name, entry in registry.items() if entry.module.startswith("third_")]:
            del registry[name]
    for name in [name for name in sys.modules if name.startswith("third_")]:
        del sys.modules[name]
    routing.find.cache_clear()
    plugins.load_entry_points.cache_clear()


def write(folder: Path, name: str, source: str = MODULE) -> Path:
    path = folder / f"{name}.py"
    path.write_text(source)
    importlib.invalidate_caches()
    return path


def test_a_method_and_a_part_are_found_by_their_module(folder):
    write(folder, "third_module")
    found = routing.find("third_module:third_method")
    assert dict(found.names)["weights"] == "third_module:third_weights(3)"
    assert routing.find("naive(weights=third_module:third_weights(3))") == found
    assert routing.find("third_method") == found
    assert routing.METHODS["third_method"].module == "third_module"


def test_the_canonical_name_of_a_part_finds_it_in_another_process(folder):
    write(folder, "third_module")
    names = dict(routing.find("third_module:third_method").names)
    rest = ",".join(f"{kind}={name}" for kind, name in names.items())
    assert routing.find(f"oracle({rest})") == routing.find("third_module:third_method")


def test_a_shorthand_of_a_method_is_read_once_its_module_is_imported(folder):
    source = (
        MODULE
        + """
method("third_short", "A summary.", shorthand="weights", weights="third_weights")
"""
    )
    write(folder, "third_module", source)
    found = routing.find("third_module:third_short(7)")
    assert dict(found.names)["weights"] == "third_module:third_weights(7)"
    assert routing.find("third_module:third_short(weights=third_module:third_weights(7))") == found


def test_controls_keep_the_module_of_a_method_and_of_its_parts(folder):
    write(folder, "third_module")
    found = controls("third_module:third_method(baseline=none)")
    assert found
    assert all(control.startswith("third_module:third_method(") for control in found)
    text = with_parts("gradient_routing(weights=third_module:third_weights)", {"baseline": "none"})
    assert text == "gradient_routing(weights=third_module:third_weights,baseline=none)"


@pytest.mark.parametrize("case", BAD_MODULES)
def test_a_bad_module_gives_one_line_and_leaves_nothing_registered(case, folder):
    source, message = BAD_MODULES[case]
    file = write(folder, "third_bad", source)
    for _ in range(2):  # the second attempt must not report what the first left behind
        with pytest.raises(ValueError, match="third_bad") as refused:
            routing.find("third_bad:wanted")
        assert message.format(file=file) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("third_none:x", "third_none:x: no module named 'third_none'; is it installed, in the current folder or on"),
        ("third_none.inner:x", "no module named 'third_none'"),
        ("third_module.py:x", "write the module's name without .py: third_module"),
        ("third_module:", "'third_module:' is not of the form MODULE:NAME"),
        ("third_module:naive", "registers no method 'naive'; routing.methods.naive does: write 'naive'"),
        ("third_module:third_methd", "registers no method 'third_methd'; it registers third_method"),
        ("random:x", "registers no method 'x'; rename your module: this name is taken"),
        ("routing:x", "registers no method 'x'; rename your module: this name is taken"),
        ("naive(weights=third_module:ipw)", "registers no weights 'ipw'; routing.parts.weights.ipw does: write 'ipw'"),
        (
            "naive(weights=third_module:third_weights(x=1))",
            "unknown parameter of weights third_module:third_weights 'x'",
        ),
        ("naive(weights=third_none:w)", "no module named 'third_none'"),
        ("third.:x", "no module named 'third"),
    ],
)
def test_a_name_that_its_module_does_not_register_gives_one_line(name, message, folder):
    write(folder, "third_module")
    with pytest.raises(ValueError, match=r"\S") as refused:
        routing.find(name)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_module_is_imported_again_once_it_is_repaired(folder):
    write(folder, "third_module", MODULE + "\n1 / 0\n")
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        routing.find("third_module:third_method")
    assert "third_method" not in routing.METHODS
    write(folder, "third_module", MODULE + "\n# repaired, and longer than before\n")
    assert routing.find("third_module:third_method")


def test_two_modules_cannot_register_one_name(folder):
    write(folder, "third_module")
    write(folder, "third_other")
    assert routing.find("third_module:third_method")
    with pytest.raises(ValueError, match="'third_weights' is already registered by third_module"):
        routing.find("third_other:third_method")


def install(folder: Path, module: str) -> None:
    """Installs a distribution whose entry point of `keyhole.methods` names the module."""
    info = folder / "third_dist-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-dist\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[keyhole.methods]\nmine = {module}\n")
    plugins.load_entry_points.cache_clear()


def test_a_name_without_module_is_found_by_an_entry_point_that_is_loaded_only_then(folder):
    write(folder, "third_module")
    install(folder, "third_module")
    assert routing.find("naive(weights=ipw)")
    assert "third_module" not in sys.modules
    assert routing.find("naive(weights=third_weights(3))") == routing.find("third_method")


def test_an_entry_point_that_fails_is_named_where_a_name_is_unknown_and_harms_nothing_else(folder):
    write(folder, "third_module", "1 / 0")
    install(folder, "third_module")
    with pytest.raises(ValueError, match="unknown method 'third_method'") as refused:
        routing.find("third_method")
    line = str(refused.value)
    assert "entry point 'mine' of third-dist 1.2: importing third_module failed: ZeroDivisionError" in line
    assert "\n" not in line
    assert routing.find("naive")


def test_a_record_is_read_without_executing_the_modules_that_it_names(folder):
    write(folder, "third_module")
    install(folder, "third_module")
    with plugins.without_imports():
        for name in ("third_module:third_method", "third_method"):
            with pytest.raises(ValueError, match="third_m"):
                routing.find(name)
    assert "third_module" not in sys.modules
    assert routing.find("third_module:third_method")
    with plugins.without_imports():
        assert routing.find("third_module:third_method(baseline=none)")
