"""Settings of a study and of its runs.

They have what the settings of a sweep and of its runs have (`flows.config`), as far as planning, the cache, the pool,
the display and the record depend on it.
"""

from copy import copy
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from flows.config import CompareConfig, Settings, TrainConfig

Preset = Literal["quick", "full"]
SEEDS: dict[str, int] = {"quick": 3, "full": 8}  # unless they are set
PROGRESS_STEPS = 1000  # units in which a run reports its progress
SHARED: dict[str, Any] = {**CompareConfig.model_fields}


class StudyRun(Settings):
    """One run of a study: an arm, at one level of the axis if the study has one, with one seed."""

    steps: ClassVar[int] = PROGRESS_STEPS
    start: ClassVar[str] = ""  # studies start from fresh networks
    measured: ClassVar[str] = ""

    study: str
    preset: Preset
    arm: str
    axis: str
    """name of the axis; empty if the study has none"""
    level: Any
    """value of the axis; None if the study has none"""
    seed: int
    settings: dict[str, Any]
    """keyword arguments of the study's function"""

    @property
    def label(self) -> str:
        """The name of the run in tables and figures."""
        return self.arm

    @property
    def title(self) -> str:
        """The run's name in MLflow and Prefect, unique within a study."""
        at = f" {self.axis}={self.level}" if self.axis else ""
        return f"{self.arm}{at} seed={self.seed}"

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which the MLflow UI filters and groups runs."""
        axis = {"axis": self.axis, "level": str(self.level)} if self.axis else {}
        return {"kind": "study run", "study": self.study, "arm": self.arm, **axis, "seed": str(self.seed)}


class StudyConfig(Settings):
    """A study: every arm, at every level of the axis if there is one, with every seed."""

    kind: ClassVar[str] = "study"  # tag of its MLflow run

    study: str = Field(default="split_autoencoder", description="name of the study, or module:name of your own")
    preset: Preset = Field(default="quick", description="size: quick, or full with more seeds and steps")
    seeds: int = Field(default=0, ge=0, description="number of seeds of each arm; 0: 3 of quick, 8 of full")
    workers: int = copy(SHARED["workers"])
    runner: Literal["processes", "dask", "ray"] = copy(SHARED["runner"])
    dask_address: str = copy(SHARED["dask_address"])
    ray_address: str = copy(SHARED["ray_address"])
    name: str = Field(default="", description="name of the study's MLflow run; unset: the study and the time")

    @model_validator(mode="before")
    @classmethod
    def _set_seeds(cls, values: Any) -> Any:
        """Replaces 0 seeds by the number of the preset."""
        if isinstance(values, dict) and values.get("seeds") in (None, 0, "0", ""):
            return {**values, "seeds": SEEDS.get(values.get("preset", "quick"), 1)}
        return values

    @property
    def subject(self) -> str:
        """What it is about; a prefix `module:` names the module that defines it."""
        return self.study

    def runs(self) -> list[StudyRun]:
        """Lists every run. Seeds vary slowest, so one seed of every arm finishes early."""
        from agents import studies

        study = studies.find_study(self.study)
        return [
            StudyRun(
                study=self.study,
                preset=self.preset,
                arm=arm,
                axis=study.axis,
                level=level,
                seed=seed,
                settings=study.settings(self.preset, arm, level),
            )
            for seed in range(self.seeds)
            for arm, level in study.conditions(self.preset)
        ]


Experiment = CompareConfig | StudyConfig
"""What one flow run trains: a sweep or a study."""
AnyRun = TrainConfig | StudyRun
CONFIGS: dict[str, type[Experiment]] = {config.kind: config for config in (CompareConfig, StudyConfig)}
"""kind -> settings"""
