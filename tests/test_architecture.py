"""Which part of the code may import which, read off the import statements, those inside functions included."""

import ast
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"envs": set(), "routing": set(), "agents": {"envs", "routing"}, "flows": {"agents", "envs", "routing"}}
LIBRARIES = {  # the only files that import a library, as path prefixes
    "mlflow": ("flows/tracking/",),
    "prefect": (
        "flows/compare.py",
        "flows/certify.py",
        "flows/report.py",
        "flows/study.py",
        "flows/serve.py",
        "flows/sweep/",
        "flows/prefect_server/",
    ),
    "click": ("flows/cli/", "flows/__main__.py", "benchmarks/"),
    "stable_baselines3": ("agents/", "benchmarks/"),
    "sb3_contrib": ("agents/",),
    "safetensors": ("agents/saving/weights.py",),
}
LAYERS = (  # of flows, from ground to top: a file imports its own room and those of lower layers
    {"arms", "axis", "errors", "output", "presets", "process_env", "processor", "project", "search_path", "text"},
    {"plugins", "prefect_form", "shell", "user_code"},
    {"config", "environments"},
    {"study_config"},
    {"tracking"},
    {"acting", "prefect_server", "reporting"},
    {"running"},
    {"certify", "report", "sweep"},
    {"compare", "study"},
    {"serve"},
    {"cli"},
    {"__main__"},
)
FILES = {
    path.relative_to(ROOT).as_posix(): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}
MODULES = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in FILES}


@functools.cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, in full; of `from m import x` m.x where that is a module of ours, else m."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module}
    return found


def imported_files(name: str) -> set[str]:
    """The files of this repository that a file imports."""
    return {MODULES[module] for module in imports(FILES[name]) if module in MODULES} - {name}


def package(name: str) -> str:
    return name.partition("/")[0]


def room(name: str) -> str:
    """The part of flows that a file belongs to."""
    return name.split("/")[1].removesuffix(".py")


def circles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """A circle for each file that reaches itself, found depth first."""
    for start in graph:
        stack = [[start]]
        seen: set[str] = set()
        while stack:
            trail = stack.pop()
            for after in graph[trail[-1]]:
                if after == start:
                    yield trail
                elif after not in seen:
                    seen.add(after)
                    stack.append([*trail, after])


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_packages_below_its_own(name):
    siblings = {module.partition(".")[0] for module in imports(FILES[name])} & PACKAGES.keys()
    assert siblings <= PACKAGES[package(name)] | {package(name)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_where_it_belongs_alone(library):
    benchmarks = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "benchmarks").rglob("*.py")}
    users = [
        name
        for name, path in {**FILES, **benchmarks}.items()
        if library in {m.partition(".")[0] for m in imports(path)}
    ]
    assert users
    assert not [name for name in users if not name.startswith(LIBRARIES[library])]


def test_no_file_imports_itself_in_a_circle():
    assert not list(circles({name: imported_files(name) for name in FILES}))


def test_a_circle_would_be_found():
    assert list(circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}))


def test_every_room_of_flows_is_in_a_layer():
    assert {room(name) for name in FILES if package(name) == "flows"} - {"__init__"} == set().union(*LAYERS)


@pytest.mark.parametrize("name", [name for name in FILES if package(name) == "flows" and room(name) != "__init__"])
def test_a_file_of_flows_imports_only_lower_layers(name):
    level = next(i for i, layer in enumerate(LAYERS) if room(name) in layer)
    below = set().union(*LAYERS[:level], {room(name), "__init__"})
    assert {room(other) for other in imported_files(name) if package(other) == "flows"} <= below


def test_no_world_is_imported_by_its_module():
    outside = [name for name in FILES if package(name) != "envs"]
    assert not [name for name in outside for module in imports(FILES[name]) if module.startswith("envs.worlds")]


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("/__init__.py")])
def test_a_package_says_in_one_line_what_belongs_there(name):
    assert (ast.get_docstring(ast.parse(FILES[name].read_text())) or "").strip().partition("\n")[0].endswith(".")


def test_models_registered_by_earlier_versions_find_their_loader():
    assert (
        importlib.import_module("flows.acting")._load_pyfunc
        is importlib.import_module("flows.tracking.pyfunc")._load_pyfunc
    )
