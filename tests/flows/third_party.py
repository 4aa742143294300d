"""Writes modules and distributions of third parties: a method with a part that draws, limits, and a world."""

from pathlib import Path

from tests.flows.user_worlds import write_module

METHODS = '''
"""Methods of a third party."""
import numpy as np
from routing import Rollout, method, part


@part("weights", "{part}")
class Drawn:
    """Weights drawn for each episode step, from a generator that is saved with the run."""

    def __init__(self, seed: int, spread: float = 1.0) -> None:
        self.rng, self.spread = np.random.default_rng(seed), spread

    def __call__(self, rollout: Rollout) -> np.ndarray:
        return 1 + self.spread * self.rng.random(rollout.rewards.shape)

    def snapshot(self) -> dict:
        return {{"generator": self.rng.bit_generator.state}}

    def restore(self, state: dict) -> None:
        self.rng.bit_generator.state = state["generator"]


method("{method}", "Naive oversight with drawn weights.", base="naive", weights="{part}")
'''


LIMITS = '''
"""Limits of a third party."""
from routing import Change, Steps, View, limit


@limit
def {name}(steps: Steps, rate: float = 0.5) -> Change:
    """What the overseer sees of the label that the corridor has, it misses at this rate."""
    seen = steps.label == steps.labels.index(steps.labels[-1])
    return Change(rate * seen, steps.hidden[steps.label])


@limit
class {name}_count:
    """Counts the steps of a run, and changes nothing."""

    def __init__(self, seed: int, most: int = 10) -> None:
        self.count = 0

    def __call__(self, view: View) -> View:
        self.count += view.dones.size
        return view

    def snapshot(self) -> dict:
        return {{"count": self.count}}

    def restore(self, state: dict) -> None:
        self.count = state["count"]
'''


def write_limits(folder: Path, module: str, name: str) -> None:
    """Writes a module that registers a limit without memory and one with a history."""
    (folder / f"{module}.py").write_text(LIMITS.format(name=name))


def write_methods(folder: Path, module: str, method: str, part: str) -> None:
    """Writes a module that registers a method and the part that it is made of."""
    (folder / f"{module}.py").write_text(METHODS.format(method=method, part=part))


def write_distribution(site: Path, package: str, method: str, part: str) -> None:
    """Installs a distribution `PACKAGE-dist` 1.2 with a world and a method into a folder, as pip would."""
    inside = site / package
    inside.mkdir(parents=True)
    (inside / "__init__.py").touch()
    write_methods(inside, "methods", method, part)
    write_limits(inside, "limits", f"{package}_limit")
    write_module(inside, "worlds", register=f'\nregister(Corridor, "{package}")\n')
    info = site / f"{package}_dist-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}-dist\nVersion: 1.2\n")
    groups = {"keyhole.worlds": "worlds", "keyhole.methods": "methods", "keyhole.limits": "limits"}
    (info / "entry_points.txt").write_text(
        "\n".join(f"[{group}]\nmine = {package}.{module}\n" for group, module in groups.items())
    )
    files = [*inside.glob("*.py"), *info.glob("*")]
    (info / "RECORD").write_text("".join(f"{file.relative_to(site)},,\n" for file in files))
