"""Which room may know which: read off the import statements, also those inside functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"envs": set(), "routing": set(), "agents": {"envs", "routing"}, "flows": {"agents", "envs", "routing"}}
OWNERS = {"prefect": {"flows"}, "mlflow": {"flows"}, "stable_baselines3": {"agents"}}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path):
    siblings = {module.partition(".")[0] for module in imports(path)} & ROOMS.keys()
    assert siblings <= ROOMS[room(path)] | {room(path)}


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_known_to_its_room_alone(library):
    users = {room(path) for path in FILES for module in imports(path) if module.partition(".")[0] == library}
    assert users == OWNERS[library]


def test_mlflow_is_known_to_tracking_and_the_registry_of_models_alone():
    users = {path.name for path in FILES for module in imports(path) if module.partition(".")[0] == "mlflow"}
    assert users == {"tracking.py", "models.py"}


def test_nobody_imports_a_world_by_its_module():
    outside = [path for path in FILES if room(path) != "envs"]
    assert not [path for path in outside for module in imports(path) if module.startswith("envs.worlds")]


def test_the_rooms_are_all_there():
    assert {room(path) for path in FILES} == ROOMS.keys()
