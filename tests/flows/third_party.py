"""Writes modules and distributions of third parties: a method with a part that draws, and a world."""

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


def write_methods(folder: Path, module: str, method: str, part: str) -> None:
    """Writes a module that registers a method and the part that it is made of."""
    (folder / f"{module}.py").write_text(METHODS.format(method=method, part=part))


def write_distribution(site: Path, package: str, method: str, part: str) -> None:
    """Installs a distribution `PACKAGE-dist` 1.2 with a world and a method into a folder, as pip would."""
    inside = site / package
    inside.mkdir(parents=True)
    (inside / "__init__.py").touch()
    write_methods(inside, "methods", method, part)
    write_module(inside, "worlds", register=f'\nregister(Corridor, "{package}")\n')
    info = site / f"{package}_dist-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}-dist\nVersion: 1.2\n")
    groups = {"keyhole.worlds": "worlds", "keyhole.methods": "methods"}
    (info / "entry_points.txt").write_text(
        "\n".join(f"[{group}]\nmine = {package}.{module}\n" for group, module in groups.items())
    )
    files = [*inside.glob("*.py"), *info.glob("*")]
    (info / "RECORD").write_text("".join(f"{file.relative_to(site)},,\n" for file in files))
