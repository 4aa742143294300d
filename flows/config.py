"""What a run and a sweep are made of, as typed data: a form in Prefect, options on the command line.

A preset is a set of values that replace the defaults; what the user says replaces both.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from flows import arms

Item = TypeVar("Item")


def with_module(name: str) -> str:
    """Our own worlds' ids get the module in front that registers them; whoever builds one imports it."""
    return f"envs:{name}" if name.startswith("keyhole/") else name


def check_distinct(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Raises ValueError for an item named twice: its runs would count twice."""
    twice = [item for place, item in enumerate(items) if item in items[:place]]
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice")
    return items


Probability = Annotated[float, Field(ge=0, le=1)]
EnvironmentId = Annotated[str, AfterValidator(with_module)]


class Settings(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(Settings):
    """How the policy is built and updated; methods share all of it."""

    n_envs: int = Field(default=1024, ge=1, description="copies of the environment, N (ppo: 256)")
    n_steps: int = Field(default=32, ge=1, description="steps of each copy between updates, T")
    batch_size: int = Field(default=4096, ge=2, description="samples of a minibatch, B, of ppo")
    n_epochs: int = Field(default=4, ge=1, description="passes over a rollout")
    whole_episodes: bool = Field(
        default=False, description="update on one whole episode of each copy, not on n_steps steps (ppo: always steps)"
    )
    learning_rate: float = Field(default=0.012, gt=0, description="Adam's step size (ppo: 0.002)")
    decay_from: float = Field(
        default=1.0, ge=0, le=1, description="part of the run after which the step size falls linearly to 0; 1: never"
    )
    gamma: float | None = Field(default=None, ge=0, le=1, description="discount; unset: the environment's own")
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="lambda of generalised advantage estimation")
    clip_range: float = Field(default=0.2, gt=0, description="PPO's clipping of the probability ratio")
    ent_coef: float = Field(default=0.03, ge=0, description="weight of the entropy bonus")
    final_ent_coef: float | None = Field(
        default=None, gt=0, description="the same at the end of the run, approached geometrically; unset: constant"
    )
    vf_coef: float = Field(default=0.5, ge=0, description="weight of the critic's loss")
    gate_coef: float = Field(default=1.0, ge=0, description="weight of the gate's own loss on labelled steps")
    routed_baseline: bool | None = Field(
        default=None, description="critic's baseline on samples routed by outcome; unset: as the method says"
    )
    normalize_advantage: bool = Field(default=True, description="scale advantages of a minibatch to unit variance")
    max_grad_norm: float | None = Field(
        default=None, gt=0, description="clip of the global gradient norm; unset: none, for it couples blocks"
    )
    width: int = Field(default=64, ge=1, description="units of a hidden layer of each expert, gate and critic")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="of matrix products; bf16 is faster on processors that have it"
    )
    device: str = Field(default="cpu", description="where it trains: cpu, cuda, cuda:1; the world's tables too")


TRAINS_BEST: dict[str, dict[str, Any]] = {  # by learner, where it is not the field's own default
    "ppo": {"n_envs": 256, "learning_rate": 2e-3},
}


class SharedConfig(Settings):
    """What a run and all runs of a sweep have in common."""

    env: EnvironmentId = Field(
        default="envs:keyhole/DiamondGhost-v0", description="Gymnasium id, 'module:' in front if needed"
    )
    env_kwargs: dict[str, Any] = Field(default_factory=dict, description="further arguments of the environment")
    steps: int = Field(default=1_000_000, ge=1, description="environment steps of a run")
    checkpoints: int = Field(default=20, ge=1, description="evaluations along a run")
    learner: Literal["reinforce", "ppo"] = Field(
        default="reinforce",
        description="reinforce: all samples at once, one pass for each distinct observation; ppo: by minibatches",
    )
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _as_the_learner_trains_best(cls, said: Any) -> Any:
        best = TRAINS_BEST.get(said.get("learner"), {})
        training = said.get("training", {})
        return {**said, "training": {**best, **training}} if best and isinstance(training, dict) else said


Methods = Annotated[tuple[str, ...], AfterValidator(check_distinct), AfterValidator(arms.check_arms)]


class TrainConfig(SharedConfig):
    """One run: one method, one oversight level, one seed."""

    method: str = Field(default="gradient_routing", description="oversight method; see `keyhole methods`")
    arm: str = Field(default="", description="what tables and pictures call it; unset: the method")
    oversight: Probability = Field(default=0.1, description="probability that the overseer sees")
    seed: int = Field(default=0, ge=0, description="seed of the run")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return self.arm or self.method


class CompareConfig(SharedConfig):
    """A sweep: every method at every oversight level with every seed."""

    methods: Methods = Field(
        default=("gradient_routing", "filtering"),
        min_length=1,
        description="oversight methods, see `keyhole methods`; METHOD@NAME=VALUE: in a world with another argument",
    )
    oversight: Annotated[tuple[Probability, ...], AfterValidator(check_distinct)] = Field(
        default=(0.03, 0.1, 0.3), min_length=1, description="oversight levels"
    )
    seeds: int = Field(default=3, ge=1, description="number of seeds, 0 to seeds-1, of each method and level")
    workers: int = Field(default=2, ge=1, description="processes that train side by side")
    runner: Literal["processes", "dask", "ray"] = Field(
        default="processes", description="where they are: here, or on an engine; see docs/operations.md"
    )
    dask_address: str = Field(
        default="", description="Dask scheduler, tcp://host:port; unset: a cluster of this machine"
    )
    ray_address: str = Field(default="", description="Ray's head, host:port or auto; unset: a cluster of this machine")
    name: str = Field(default="", description="name of the sweep; unset: the environment and the time")

    def runs(self) -> list[TrainConfig]:
        """Every run of the sweep, seeds outermost so that a picture is complete early."""
        shared = {name: getattr(self, name) for name in SharedConfig.model_fields}
        return [
            TrainConfig(oversight=oversight, seed=seed, **(shared | self._arm(name)))
            for seed in range(self.seeds)
            for oversight in self.oversight
            for name in self.methods
        ]

    def _arm(self, name: str) -> dict[str, Any]:
        """What is special to the runs of one arm."""
        method, changed = arms.parse_arm(name)
        return {"method": method, "arm": name if changed else "", "env_kwargs": {**self.env_kwargs, **changed}}


def run_title(run: TrainConfig) -> str:
    return f"{run.label} p={run.oversight:g} seed={run.seed}"
