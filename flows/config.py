"""Settings of a run and of a sweep, as pydantic models.

They define the options of the command line and, arranged by `flows.prefect_form`, the form in the Prefect UI. A preset
replaces defaults; explicit values replace both.
"""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from flows import arms
from flows.axis import Axis, Level, oversight_level, parse_axis, value_text, with_limit
from flows.plugins import registering_module
from flows.prefect_form import MORE, arrange_schema, group_settings, ungroup_settings
from flows.processor import computes_bf16

Item = TypeVar("Item")
ONE_LEVEL = 0.1  # oversight of a sweep with an axis, unless it is set
Learner = Literal["reinforce", "ppo"]
NO_MEMORY = "none"
EVAL_EPISODES = 512  # of a sampled evaluation, unless it is set
LATER_DEFAULTS = {"extractor": "shared", "activation": "relu"}  # training settings that earlier versions lack


def with_module(name: str) -> str:
    """Prefixes the id of a world of ours, or of an installed distribution, with the module that registers it."""
    if name.startswith("keyhole/"):
        return f"envs:{name}"
    module = "" if ":" in name else registering_module(name)
    return f"{module}:{name}" if module else name


def check_distinct(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Returns `items` unchanged; raises ValueError for a duplicate, whose runs would count twice."""
    duplicates = [item for index, item in enumerate(items) if item in items[:index]]
    if duplicates:
        raise ValueError(f"{duplicates[0]!r} is named twice")
    return items


def normalised_memory(text: str) -> str:
    """Returns a memory in its one form; raises ValueError if it is invalid. Without one, no library is imported."""
    if text == NO_MEMORY:
        return text
    from agents.memory import parse_memory

    return str(parse_memory(text))


Probability = Annotated[float, Field(ge=0, le=1)]
EnvironmentId = Annotated[str, AfterValidator(with_module)]
MemoryText = Annotated[str, AfterValidator(normalised_memory)]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(Settings):
    """How the policy is built and updated; the same for every method."""

    n_envs: int = Field(default=1024, ge=1, description="copies of the environment, N (ppo: 256)")
    n_steps: int = Field(default=32, ge=1, description="steps of each copy in a rollout, T")
    batch_size: int = Field(default=4096, ge=2, description="samples of a minibatch, B (ppo only)")
    n_epochs: int = Field(default=4, ge=1, description="passes over a rollout")
    whole_episodes: bool = Field(
        default=False,
        description="update on whole episodes, one of each copy, not on n_steps steps (ppo: always n_steps)",
    )
    learning_rate: float = Field(default=0.012, gt=0, description="Adam's step size (ppo: 0.002)")
    decay_from: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="fraction of the run after which the step size falls to 0 linearly; 1: never",
    )
    gamma: float | None = Field(default=None, ge=0, le=1, description="discount; unset: the environment's own")
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="lambda of generalised advantage estimation")
    clip_range: float = Field(default=0.2, gt=0, description="PPO's clipping of the probability ratio")
    ent_coef: float = Field(default=0.03, ge=0, description="weight of the entropy bonus")
    final_ent_coef: float | None = Field(
        default=None, gt=0, description="entropy weight at the end, approached geometrically; unset: constant"
    )
    vf_coef: float = Field(default=0.5, ge=0, description="weight of the critic's loss")
    gate_coef: float = Field(default=1.0, ge=0, description="weight of the gate's own loss, where an arm has one")
    normalize_advantage: bool = Field(default=True, description="normalise advantages of a minibatch to unit variance")
    max_grad_norm: float | None = Field(
        default=None, gt=0, description="clip of the global gradient norm; unset: none, since it couples the blocks"
    )
    width: int = Field(default=64, ge=1, description="units of a hidden layer of each expert, gate and critic")
    activation: Literal["relu", "tanh"] = Field(
        default="relu",
        description="activation of the hidden layers; under a weak signal the units of relu can die: they output 0 for "
        "every observation",
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="fp32",
        description="precision of matrix products; auto: bf16 where the processor computes in it, else fp32",
    )
    extractor: Literal["shared", "per_block"] = Field(
        default="shared",
        description="where images are encoded; shared: once, by convolutions that learn from every sample; per_block: "
        "in each expert, the gate and the critic, routed and ablated with them",
    )
    device: str = Field(default="cpu", description="device of training and of the world's tables: cpu, cuda, cuda:1")

    @model_serializer(mode="wrap")
    def _leave_out_later_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out settings that earlier versions lack, at their defaults, so that cache keys stay the same."""
        return {name: value for name, value in serialize(self).items() if (name, value) not in LATER_DEFAULTS.items()}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema for forms: a setting whose default depends on the learner has none, so a form leaves it out."""
        reference = handler(core_schema)
        fields = handler.resolve_ref_schema(reference)["properties"]
        for name in LEARNERS_OWN:
            fields[name].pop("default", None)
        return reference

    @model_validator(mode="before")
    @classmethod
    def _refuse_routed_baseline(cls, values: Any) -> Any:
        """Names the part that took the place of an earlier setting; sweeps that left it unset are read."""
        if isinstance(values, dict) and "routed_baseline" in values:
            if values["routed_baseline"] is not None:
                raise ValueError("routed_baseline is a part of the arm now: write gradient_routing(baseline=unjudged)")
            values = {name: value for name, value in values.items() if name != "routed_baseline"}
        return values

    @model_validator(mode="before")
    @classmethod
    def _resolve_precision(cls, values: Any) -> Any:
        """Replaces auto, so that a run records the precision that it had."""
        if not isinstance(values, dict) or values.get("precision") != "auto":
            return values
        bf16 = computes_bf16(str(values.get("device", "cpu")))
        return {**values, "precision": "bf16" if bf16 else "fp32"}


LEARNER_DEFAULTS: dict[str, dict[str, Any]] = {  # defaults of a learner that differ from the fields' own
    "ppo": {"n_envs": 256, "learning_rate": 2e-3},
}
LEARNERS_OWN = sorted({name for defaults in LEARNER_DEFAULTS.values() for name in defaults})


class SharedConfig(Settings):
    """Settings that a single run and a sweep share."""

    env: EnvironmentId = Field(
        default="envs:keyhole/DiamondGhost-v0", description="Gymnasium id, as 'module:id' if a module registers it"
    )
    env_kwargs: dict[str, Any] = Field(default_factory=dict, description="other arguments of the environment")
    overseer: str = Field(
        default="", description="limits of the overseer, LIMIT(VALUE,...)|LIMIT(...); see `keyhole limits`"
    )
    steps: int = Field(default=1_000_000, ge=1, description="environment steps of a run, over all copies")
    start: str = Field(
        default="",
        description="agent that every arm starts from: agent.zip, run or registered model; unset: fresh networks",
    )
    checkpoints: int = Field(default=20, ge=1, description="evaluations during a run, evenly spaced")
    eval_episodes: int = Field(
        default=EVAL_EPISODES,
        ge=1,
        description="episodes of an evaluation, where it is sampled: in an environment without tables",
    )
    relearn_updates: int = Field(
        default=0,
        ge=0,
        description="updates on the proxy reward alone by which a copy of the deployed policy is fine-tuned after "
        "training, to measure how soon it commits bad acts again; 0: none",
    )
    learner: Learner = Field(
        default="reinforce",
        description="reinforce: whole rollouts, one forward pass per distinct observation; ppo: minibatches",
    )
    memory: MemoryText = Field(
        default=NO_MEMORY,
        description="memory of the agent: none, frames(K): its last K observations, or lstm(W): an LSTM of W units in "
        "each block (ppo only)",
    )
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _apply_learner_defaults(cls, values: Any) -> Any:
        defaults = LEARNER_DEFAULTS.get(values.get("learner"), {})
        training = values.get("training", {})
        if not defaults or not isinstance(training, dict):
            return values
        return {**values, "training": {**defaults, **training}}

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what is unset and earlier versions lack, so that their cache keys and saved states stay valid."""
        values = serialize(self)
        unset = set() if values.get("axis") else {"axis", "level"}
        unset |= {"memory"} if values.get("memory") == NO_MEMORY else set()
        unset |= {"eval_episodes"} if values.get("eval_episodes") == EVAL_EPISODES else set()
        unset |= {name for name in ("overseer", "relearn_updates", "label_price") if not values.get(name)}
        return {name: value for name, value in values.items() if name not in unset}


Methods = Annotated[tuple[str, ...], AfterValidator(check_distinct), AfterValidator(arms.check_arms)]


class TrainConfig(SharedConfig):
    """One run: one arm, one level, one seed."""

    measured: ClassVar[str] = "true return"  # what the display of its progress shows

    method: Annotated[str, AfterValidator(arms.check_method)] = Field(
        default="gradient_routing", description="oversight method, METHOD(PART=VALUE,...); see `keyhole methods`"
    )
    arm: str = Field(default="", description="name of the run in tables and figures; unset: the method")
    oversight: Probability = Field(default=0.1, description="probability p that the overseer sees")
    seed: int = Field(default=0, ge=0, description="seed of the run")
    axis: str = Field(default="", description="what the sweep of the run changes; unset: the oversight level")
    level: Any = Field(default=None, description="the run's value of the axis, which env_kwargs or overseer has too")

    @property
    def title(self) -> str:
        """The run's name in MLflow and Prefect, unique within a sweep."""
        return f"{self.label} {self.at} seed={self.seed}"

    @property
    def label(self) -> str:
        """The name of the run in tables and figures."""
        return self.arm or self.method

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which the MLflow UI filters and groups runs."""
        axis = {"axis": self.axis, "level": self.at.text} if self.axis else {}
        return {
            "kind": "run",
            "env": self.env,
            "method": self.method,
            "arm": self.label,
            "oversight": f"{self.oversight:g}",
            **axis,
            **({"overseer": self.overseer} if self.overseer else {}),
            "seed": str(self.seed),
        }

    @property
    def at(self) -> Level:
        """The run's level of the sweep's axis."""
        if not self.axis:
            return oversight_level(self.oversight)
        text = value_text(self.level)
        return Axis(self.axis, (text,)).level(text)


class CompareConfig(SharedConfig):
    """A sweep: every arm at every level of the axis, by default every oversight level, with every seed."""

    kind: ClassVar[str] = "sweep"  # tag of its MLflow run

    methods: Methods = Field(
        default=("gradient_routing", "filtering"),
        min_length=1,
        description="arms: METHOD(PART=VALUE,...)@NAME=VALUE; parts, see `keyhole methods`, and environment arguments "
        "are optional",
    )
    oversight: Annotated[tuple[Probability, ...], AfterValidator(check_distinct)] = Field(
        default=(0.03, 0.1, 0.3), min_length=1, description="oversight levels"
    )
    axis: str = Field(
        default="",
        description="argument of the environment, or LIMIT.PARAMETER of the overseer, to sweep in place of the "
        f"oversight level: NAME=VALUE,VALUE,...; --oversight is then one level, by default {ONE_LEVEL:g}",
    )
    controls: bool = Field(default=False, description="also train the attribution controls of each arm")
    reference: str = Field(
        default="", description="arm that the others are compared with; unset: the first of the methods"
    )
    seeds: int = Field(default=3, ge=1, description="number of seeds, 0 to seeds-1, of each arm and level")
    label_price: float = Field(
        default=0.0,
        ge=0,
        description="price of a verdict that training reads, in units of return; the report then shows what the "
        "labels of each arm cost",
    )
    workers: int = Field(default=2, ge=1, description="worker processes, one run each")
    runner: Literal["processes", "dask", "ray"] = Field(
        default="processes", description="where the workers run: on this machine, Dask or Ray; see docs/operations.md"
    )
    dask_address: str = Field(default="", description="Dask scheduler, tcp://host:port; unset: a local cluster")
    ray_address: str = Field(default="", description="Ray head node, host:port or auto; unset: a local cluster")
    name: str = Field(default="", description="name of the sweep; unset: the environment and the time")

    @model_validator(mode="before")
    @classmethod
    def _ungroup(cls, values: Any) -> Any:
        ungrouped = ungroup_settings(values, lambda: cls().model_dump(mode="json"))
        if not isinstance(ungrouped, dict) or not ungrouped.get("axis"):
            return ungrouped
        default = cls.model_fields["oversight"].default
        prefilled = MORE in values and tuple(ungrouped.get("oversight", ())) == default  # by Prefect's form
        unset = "oversight" not in ungrouped or prefilled
        return {**ungrouped, "oversight": (ONE_LEVEL,)} if unset else ungrouped

    @field_validator("axis")
    @classmethod
    def _check_axis(cls, text: str, info: ValidationInfo) -> str:
        """Writes the axis in one form, so that sweeps with equal axes are equal."""
        if not text.strip():
            return ""
        axis = parse_axis(text)
        levels = info.data.get("oversight", ())
        if len(levels) > 1:
            found = ", ".join(f"{level:g}" for level in levels)
            raise ValueError(
                f"a sweep with an axis has one oversight level, found {found}; write --oversight {ONE_LEVEL:g}"
            )
        return str(axis)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core_schema)
        arrange_schema(handler.resolve_ref_schema(reference))
        return reference

    @property
    def subject(self) -> str:
        """What it is about; a prefix `module:` names the module that defines it."""
        return self.env

    def form(self) -> dict[str, Any]:
        """The settings as JSON values, grouped as in Prefect's form.

        Defaults of the learner are left out, so that another learner that is chosen in the form gets its own.
        """
        values = self.model_dump(mode="json")
        defaults = {**Training().model_dump(mode="json"), **LEARNER_DEFAULTS.get(self.learner, {})}
        for name in LEARNERS_OWN:
            if values["training"][name] == defaults[name]:
                del values["training"][name]
        return group_settings(values)

    def runs(self) -> list[TrainConfig]:
        """Lists every run of the sweep. Seeds vary slowest, so one seed of every arm and level finishes early.

        Arms that differ in deployment rules alone share a run, under the name of the first.
        """
        shared = {name: getattr(self, name) for name in SharedConfig.model_fields}
        found = [self._arm(name, method) for name, method in arms.trained_once(self.arms).items()]
        if not self.axis:
            return [
                TrainConfig(oversight=oversight, seed=seed, **(shared | arm))
                for seed in range(self.seeds)
                for oversight in self.oversight
                for arm in found
            ]
        (oversight,) = self.oversight
        return [
            TrainConfig(oversight=oversight, seed=seed, **(shared | arm | self._at(value, arm["env_kwargs"])))
            for seed in range(self.seeds)
            for value in self.sweep_axis.values
            for arm in found
        ]

    @property
    def sweep_axis(self) -> Axis:
        """What the sweep changes from level to level."""
        if self.axis:
            return parse_axis(self.axis)
        return Axis(texts=tuple(oversight_level(level).text for level in self.oversight))

    def _at(self, value: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """The settings in which the runs at one level of the axis differ from the sweep."""
        name = self.sweep_axis.name
        changed = (
            {"overseer": with_limit(self.overseer, name, value)}
            if "." in name
            else {"env_kwargs": {**arguments, name: value}}
        )
        return {**changed, "axis": name, "level": value}

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, with their controls if the sweep has any."""
        return arms.with_controls(self.methods) if self.controls else self.methods

    def _arm(self, name: str, method: str) -> dict[str, Any]:
        """The settings in which the runs of one arm differ from the sweep."""
        changed = arms.parse_arm(name).env_kwargs
        return {"method": method, "arm": "" if name == method else name, "env_kwargs": {**self.env_kwargs, **changed}}


class RunOptions(Settings):
    """Options of a sweep that are not part of its configuration."""

    resume: str = Field(default="", description="MLflow run id of the sweep to resume; unset: a new sweep")
    force: bool = Field(default=False, description="train every run, even if it is finished")
    reuse: bool = Field(default=True, description="reuse the results of equal runs of other sweeps")
    only_failed: bool = Field(default=False, description="of the resumed sweep, train only the failed runs")
    next_seeds: bool = Field(
        default=False, description="train further seeds in the earlier sweep with the same settings and name"
    )

    @model_validator(mode="after")
    def _check_next_seeds(self) -> Self:
        if self.next_seeds and (self.resume or self.force or self.only_failed):
            raise ValueError("next_seeds trains new seeds only; leave out resume, force and only_failed")
        return self
