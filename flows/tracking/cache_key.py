"""Computes a run's cache key: equal settings, code and library versions give equal keys.

The key covers, besides the settings of the run:
- every source file of envs, routing and agents, wherever they are installed;
- the content of the agent that a run starts from;
- the module of the training function. `flows.running.train` decides how a policy is evaluated and selected. The rest of
  flows cannot change a number, so editing it retrains nothing;
- the file of every loaded user module (see `flows.user_code`), and of every loaded module of the packages that register
  the environment, methods and parts, wherever they are installed. The rehearsal (flows.sweep.checks) has executed
  training, evaluation and drawing, so modules that are imported inside functions are loaded too. Source files, C
  extensions and members of zip archives are hashed;
- the versions of Python, of the libraries below, and of the distributions that those modules import, with the
  distributions that these require.

It does not cover data files that a world reads, shared libraries that a C extension links to, environment variables,
distributions installed in editable mode that only other distributions import, and the hardware. A run that imports a
further user module while it trains, or whose worker has another version of one, is tagged `not_reusable` and never
taken as an equal run.
"""

import ast
import functools
import hashlib
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from flows.search_path import PACKAGES
from flows.study_config import AnyRun
from flows.user_code import module_digest, module_digests, user_modules

CODE = ("agents", "envs", "routing")
LIBRARIES = ("torch", "numpy", "scipy", "gymnasium", "stable-baselines3", "sb3-contrib", "scikit-learn", "mlxtend")
CACHE_KEY = "cache_key"
NOT_REUSABLE = "not_reusable"  # tag: why the run is never taken as an equal run
REQUIREMENT = re.compile(r"[\w.-]+")


def code_digest(env: str, trainer: str) -> str:
    """Returns a digest of the code and libraries that runs in the environment `env` depend on.

    To be called after the rehearsal, which loads the user's modules.

    Args:
        env: Gymnasium id, or name of a study; the module it names is part of the digest.
        trainer: The training function, as "module:function".
    """
    registering = env.rpartition(":")[0]
    import_module(trainer.partition(":")[0])  # its user modules are covered, too
    digest = hashlib.sha256(f"{trainer} {platform.python_version()}\n".encode())
    for name in sorted({*CODE, trainer.partition(":")[0], registering} - {""}):
        for file in _sources(name):
            digest.update(f"{name} {file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    modules = covered_modules(registering)
    for name, module in sorted(modules.items()):
        digest.update(f"{name} {module_digest(module)}\n".encode())
    for library in sorted({*LIBRARIES, *imported_distributions(modules.values())}):
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()


def run_key(config: AnyRun, digest: str) -> str:
    """Returns the cache key of a run: equal keys mean equal results. `digest` is that of `code_digest`."""
    start = hashlib.sha256(Path(config.start).read_bytes()).hexdigest() if config.start else ""
    return hashlib.sha256(f"{digest} {config.model_dump_json()} {start}".encode()).hexdigest()


def covered_modules(registering: str) -> dict[str, ModuleType]:
    """Returns the loaded user modules, and those of the packages that register the environment, methods and parts."""
    from routing.oversight.plugins import plugin_packages

    packages = ({registering.partition(".")[0]} | plugin_packages()) - {"", *PACKAGES}
    inside = {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages}
    return user_modules() | {name: module for name, module in inside.items() if getattr(module, "__file__", None)}


def uncovered_modules(covered: Mapping[str, str], loaded: Mapping[str, str]) -> list[str]:
    """Names the user modules of a worker that the key does not cover, or covers with another content.

    Args:
        covered: Digests of the modules that were loaded when the key was computed, by name.
        loaded: Digests of the modules that are loaded after training, by name.
    """
    return sorted(name for name, digest in loaded.items() if covered.get(name) != digest)


def not_reusable_tags(covered: Mapping[str, str], loaded: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the tag of a run that imported a further user module while it trained; empty for any other run."""
    uncovered = uncovered_modules(covered, module_digests() if loaded is None else loaded)
    return {NOT_REUSABLE: f"imported {', '.join(uncovered)} while it trained"} if uncovered else {}


def imported_distributions(modules: Iterable[ModuleType]) -> set[str]:
    """Returns the installed distributions that the modules import, and those that these require."""
    names = {name for module in modules for name in _imports(module)} - {*PACKAGES, *sys.stdlib_module_names}
    if not names:
        return set()
    owners = _owners()
    open_ends = {owner for name in names for owner in owners.get(name, ())}
    found: set[str] = set()
    while open_ends:
        name = open_ends.pop()
        if name not in found and _is_installed(name):
            found.add(name)
            open_ends |= {match[0] for text in distribution(name).requires or () if (match := REQUIREMENT.match(text))}
    return found


@functools.cache
def _owners() -> Mapping[str, Sequence[str]]:
    """Maps top-level modules to the distributions that install them; reads the metadata of every distribution."""
    return packages_distributions()


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _imports(module: ModuleType) -> set[str]:
    """The top-level names that a module's source imports, inside functions too, and the module's own."""
    names = {module.__name__.partition(".")[0]}
    file = Path(str(module.__file__))
    if file.suffix != ".py" or not file.exists():
        return names
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _sources(module: str) -> Iterator[Path]:
    """Yields the file of a module, or every source file of a package."""
    spec = find_spec(module)
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(folder).rglob("*.py"))
    if spec and spec.origin and not spec.submodule_search_locations:
        yield Path(spec.origin)
