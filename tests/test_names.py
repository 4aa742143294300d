"""Every public top-level function or class has a name that is defined once in the repository."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("agents", "benchmarks", "envs", "flows", "routing")
EXCEPTIONS = {  # name -> why several modules define it
    "certify": "a function of envs, the flow and its task, and the command that starts the flow",
    "compare": "a flow and the command that starts it",
    "main": "the entry point of a program",
    "measure": "the interface of a benchmark subject",
    "open_workers": "the interface of a runner",
    "report": "a flow and the command that starts it",
    "run": "the training function of a sweep and that of a study",
    "serve": "a function and the command that calls it",
    "study": "a decorator, a flow and a group of commands",
    "train": "a task of the comparison and a command",
    "unknown_name": "one error format in packages that import nothing of each other",
}


def is_part(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether it is registered as a part of arms, which is found by its kind and its name and is never imported."""
    calls = [decorator.func for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    return any(isinstance(call, ast.Name) and call.id == "part" for call in calls)


def public_names(source: str) -> set[str]:
    """Names of the public functions and classes at the top level of a module, without parts of arms."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in ast.parse(source).body if isinstance(node, definitions)]
    return {node.name for node in nodes if not node.name.startswith("_") and not is_part(node)}


def modules_by_name() -> dict[str, list[str]]:
    """Public name -> the modules that define it."""
    modules = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in public_names(path.read_text()):
                modules[name].append(path.relative_to(ROOT).as_posix())
    return modules


def test_every_public_name_is_defined_once_or_is_an_exception():
    repeated = {name: paths for name, paths in modules_by_name().items() if len(paths) > 1}
    assert {name: paths for name, paths in repeated.items() if name not in EXCEPTIONS} == {}


def test_every_exception_is_still_needed():
    modules = modules_by_name()
    assert [name for name in EXCEPTIONS if len(modules[name]) < 2] == []


def test_public_names_are_those_at_the_top_level_without_underscore():
    source = (
        "def a():\n    def inner(): ...\nclass B:\n    def method(self): ...\nasync def c(): ...\n"
        "def _d(): ...\nE = 1\n@part('weights')\ndef f(): ..."
    )
    assert public_names(source) == {"a", "B", "c"}
