"""Checks the settings of a run or sweep before anything starts.

The rehearsal of a run builds the environment, with all its wrappers, and the learner as training does, collects and
treats one short rollout, updates, evaluates, and saves state and agent. It evaluates once for each set of environment
arguments, and only where episodes end soon. What would fail after hours fails here, in one line. Every module of the
user's that training needs is then loaded; the cache key relies on that.
"""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from flows import arms
from flows.axis import value_text, with_limit
from flows.config import CompareConfig, Learner, TrainConfig, Training
from flows.environments import check_argument, environment_error, import_environment, make_env
from flows.errors import UserError, log_suppressed, unknown_name
from flows.running.runners import check_runner
from flows.sweep.method_checks import check_needs, method_notes
from flows.text import one_line
from flows.user_code import error_line, raised_by_user

logger = logging.getLogger(__name__)
OURS = "envs:keyhole/"
INFO_KEYS = ("overseer_obs", "true_reward")  # keys required in the info of every step
ATTRIBUTES = ("judgement", "overseer_labels", "flags", "watched")
LEARNER_ATTRIBUTES = ("gamma", "oversight_prob", "judgement", "flags")  # attributes that a learner reads
COPIES = 2
REHEARSAL_SETTINGS = {"n_envs": COPIES, "n_steps": 8, "width": 8, "batch_size": 16, "n_epochs": 1}
RANDOM_STEPS = 10_000  # within which a world without tables or time limit must end an episode

_passed: set[str] = set()  # sweeps that passed in this process: the command line checks a sweep before its flow does


class Findings(NamedTuple):
    """What the check of an environment without faults found."""

    states: int | None
    """Number of states; None if the environment has no tables."""
    notes: tuple[str, ...]
    """Properties that are allowed and have consequences."""

    def __str__(self) -> str:
        tables = "no tables" if self.states is None else f"tables with {self.states:,} states"
        return "; ".join([f"fine: {tables}", *self.notes])


def check_sweep(config: CompareConfig) -> None:
    """Raises UserError if a run of the sweep could not start.

    Every distinct world is checked. Each set of environment arguments and each method is rehearsed in at least one run.
    """
    from envs.enumeration import cached_tables

    key = config.model_dump_json()
    if key in _passed:
        return
    check_runner(config)
    check_device(config.training.device)
    check_start(config.start)
    _check_methods(config.env, [arms.parse_arm(name).method for name in config.methods])
    check_overseer(config.overseer)
    if same := arms.same_arms(config.methods):
        raise UserError(f"--methods: {same[0]} and {same[1]} are the same composition; leave one out")
    check_reference(config)
    check_axis(config)
    for run in config.runs():
        check_run_memory(run)
    worlds: set[str] = set()
    arguments: set[str] = set()
    methods: set[str] = set()
    methods_in_worlds: set[tuple[str, str]] = set()
    for run in config.runs():
        argument = f"{run.overseer} {run.env_kwargs}"
        world = f"{run.oversight} {argument}"
        with _at_level(run):
            if world not in worlds:
                check_run_environment(run.env, run.env_kwargs, run.oversight, run.learner)
            if (world, run.method) not in methods_in_worlds:
                check_needs(run)
            if argument not in arguments:
                rehearse(run)
            elif run.method not in methods:
                rehearse(run, evaluates=False)
        methods_in_worlds.add((world, run.method))
        worlds.add(world)
        arguments.add(argument)
        methods.add(run.method)
    cached_tables.cache_clear()  # the workers have their own; tables of a large world take hundreds of megabytes
    _passed.add(key)


def expand_controls(config: CompareConfig) -> CompareConfig:
    """Writes the controls of the arms out, so that a sweep records which it has: another version may have others.

    Raises:
        UserError: A method is unknown.
    """
    if not config.controls:
        return config
    _check_methods(config.env, [arms.parse_arm(name).method for name in config.methods])
    return config.model_copy(update={"methods": config.arms, "controls": False})


def check_reference(config: CompareConfig) -> None:
    """Raises UserError if the reference is set and is not one of the sweep's arms."""
    if config.reference and config.reference not in config.arms:
        raise unknown_name("reference arm", config.reference, config.arms)


def check_overseer(limits: str) -> None:
    """Raises UserError if a limit of the overseer is unknown or has a wrong value."""
    import routing

    try:
        routing.parse_limits(limits)
    except ValueError as error:
        raise UserError(f"--overseer: {one_line(error)}") from None


def check_run_memory(config: TrainConfig) -> None:
    """Raises UserError if the learner or the method of a run does not support the agent's memory."""
    import agents
    from routing import find

    try:
        agents.check_memory(
            agents.parse_memory(config.memory), config.learner, find(config.method), config.training.precision
        )
    except ValueError as error:
        raise UserError(f"--memory: {one_line(error)} (method {config.method!r})") from None


def check_axis(config: CompareConfig) -> None:
    """Raises UserError if the axis is no argument of the environment or limit of the overseer, or is set elsewhere."""
    if not config.axis:
        return
    name = config.sweep_axis.name
    if "." in name:
        try:
            with_limit(config.overseer, name, None)
        except ValueError as error:
            raise UserError(f"--axis {name}: {one_line(error)}") from None
        return
    if name in config.env_kwargs:
        raise UserError(f"--axis: {name} is set twice; leave out --set {name}={value_text(config.env_kwargs[name])}")
    for arm in config.methods:
        if name in arms.parse_arm(arm).env_kwargs:
            raise UserError(f"--methods: {arm} sets {name}, which --axis changes; leave out one of them")
    try:
        check_argument(config.env, name)
    except UserError as error:
        raise UserError(f"--axis: {error}") from None


@contextmanager
def _at_level(run: TrainConfig) -> Iterator[None]:
    """Adds the level of a sweep with an axis to an error."""
    try:
        yield
    except UserError as error:
        if not run.axis:
            raise
        raise UserError(f"--axis {run.at}: {error}") from None


def check_run(config: TrainConfig) -> None:
    """Raises UserError if the run could not start."""
    check_device(config.training.device)
    check_start(config.start)
    _check_methods(config.env, [config.method])
    check_overseer(config.overseer)
    check_run_memory(config)
    check_run_environment(config.env, config.env_kwargs, config.oversight, config.learner)
    check_needs(config)
    rehearse(config)


def check_device(name: str) -> None:
    """Raises UserError if torch cannot compute on this device."""
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"--device {name!r} is not available: {reason}; available are {', '.join(available)}") from None


def check_start(path: str) -> None:
    """Raises UserError if the agent that runs start from cannot be loaded."""
    import agents

    if not path:
        return
    try:
        agents.load(path)
    except (agents.BadAgentError, OSError) as error:
        raise UserError(f"--start: {one_line(error)}") from None


def _check_methods(env: str, names: Sequence[str]) -> None:
    """Raises UserError for the first name or part that is unknown, and for parts that do not hold together.

    The environment's module may register methods and parts.
    """
    try:
        _find_methods(names)
    except ValueError:
        import_environment(env)
    try:
        _find_methods(names)
    except ValueError as error:
        raise UserError(one_line(error)) from None


def _find_methods(names: Sequence[str]) -> None:
    import routing

    for name in names:
        routing.find(name)


def check_run_environment(name: str, arguments: dict[str, Any], oversight: float, learner: Learner) -> None:
    """Raises UserError if the environment cannot be trained in under oversight at this level."""
    for given, option in (("oversight_prob", "--oversight"), ("overseer", "--overseer"), ("memory", "--memory")):
        if given in arguments:
            raise UserError(f"{given} is set twice; use {option} and leave it out of the environment's arguments")
    check_environment(name, {"oversight_prob": oversight, **arguments}, learner)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses `sys.stdout`, to which an environment may print."""
    with redirect_stdout(io.StringIO()):
        yield


@_quiet()
def check_environment(name: str, arguments: dict[str, Any], learner: Learner = "reinforce") -> Findings:
    """Checks an environment as training would build it.

    Args:
        name: Gymnasium id, prefixed with "module:" if a module must be imported to register it.
        arguments: Keyword arguments of the environment.
        learner: The learner that must be able to train on its spaces.

    Raises:
        UserError: The first fault found.
    """
    audited = "oversight_prob" in arguments and _is_audited(name)
    check_overseer(arguments.get("overseer", ""))
    left_out = ("overseer", "oversight_prob") if audited else ("overseer",)
    own = {key: value for key, value in arguments.items() if key not in left_out}
    world = make_env(name, own, COPIES)
    try:
        _check_autoreset(name, world)
        _check_view(name, world)
        _check_spaces(name, world, learner)
        found = _findings(world, _check(world))
        world.close()
        return found
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if _is_bug(name, error):
            raise
        raise environment_error(name, error) from None


def _is_audited(name: str) -> bool:
    """Whether `--oversight` means audits in an environment, because it does not take `oversight_prob`."""
    import envs

    import_environment(name)
    try:
        return not envs.takes_oversight_prob(name)
    except gymnasium.error.Error:
        return False  # making it explains what is wrong


def _check(world: VectorEnv) -> tuple[str, ...]:
    """Runs the checker; returns its notes."""
    from envs.checks.vector_env import findings

    return tuple(map(one_line, findings(world)))


def _is_bug(name: str, error: BaseException) -> bool:
    """Returns whether an exception is a bug in keyhole, whose traceback should be shown."""
    explained = isinstance(error, ValueError | gymnasium.error.Error)
    return name.startswith(OURS) and not explained and not raised_by_user(error)


@_quiet()
def check_for_training(
    name: str, arguments: dict[str, Any], learner: Learner = "reinforce", method: str = TrainConfig().method
) -> Findings:
    """Checks an environment and rehearses a run in it.

    Args:
        name: Gymnasium id, prefixed with "module:" if a module must be imported to register it.
        arguments: Keyword arguments of the environment.
        learner: The learner of the run.
        method: The oversight method of the run.

    Raises:
        UserError: The first fault found.
    """
    _check_methods(name, [method])
    findings = check_environment(name, arguments, learner)
    rest = {key: value for key, value in arguments.items() if key not in ("oversight_prob", "overseer")}
    oversight = arguments.get("oversight_prob", TrainConfig().oversight)
    overseer = arguments.get("overseer", "")
    run = {"oversight": oversight, "overseer": overseer, "learner": learner, "method": method}
    config = TrainConfig(env=name, env_kwargs=rest, **run)
    check_needs(config)
    rehearse(config)
    findings = findings._replace(notes=(*findings.notes, *method_notes(config)))
    if _is_audited(name):
        findings = findings._replace(notes=(*findings.notes, "takes no oversight_prob: its overseer audits episodes"))
    return findings


def _check_autoreset(name: str, world: VectorEnv) -> None:
    mode = world.metadata.get("autoreset_mode")
    if mode != AutoresetMode.SAME_STEP:
        found = mode.name if isinstance(mode, AutoresetMode) else repr(mode)
        raise UserError(
            f"environment {name!r} resets itself in mode {found}; runs need SAME_STEP: "
            "give it an overseer by envs.overseen (docs/worlds.md), or derive its vector form from envs.POMDP"
        )


def _check_view(name: str, world: VectorEnv) -> None:
    start = world.reset(seed=0)[-1]
    info = world.step(world.action_space.sample())[-1]
    missing = [key for key in INFO_KEYS if key not in info]
    missing += [key for key in ATTRIBUTES if getattr(world.unwrapped, key, None) is None]
    if missing:
        raise UserError(
            f"environment {name!r} gives no overseer view: it lacks {', '.join(missing)}; "
            "use envs.overseen (docs/worlds.md), or derive it from envs.POMDP"
        )
    if "watched" not in start:
        raise UserError(f"environment {name!r}: reset() gives no 'watched' in its info, (N,) bool; evaluation needs it")
    missing = [key for key in LEARNER_ATTRIBUTES if getattr(world, key, None) is None]
    if missing:
        raise UserError(
            f"environment {name!r}: {type(world).__name__} hides {', '.join(missing)} of the world inside; "
            "derive the wrapper from envs.wrappers.AgentView, or pass attributes on in __getattr__"
        )
    not_arrays = [key for key in ("judgement", "flags") if not isinstance(getattr(world, key), np.ndarray)]
    if not_arrays:
        found = type(getattr(world, not_arrays[0])).__name__
        raise UserError(f"environment {name!r}: {not_arrays[0]} must be a numpy array, found {found}")


def _check_spaces(name: str, world: VectorEnv, learner: Learner) -> None:
    """Raises UserError if the learner cannot train on the environment's spaces."""
    import agents

    try:
        agents.check_spaces(world.single_observation_space, world.single_action_space, learner)
    except ValueError as error:
        raise UserError(f"environment {name!r}: {one_line(error)}") from None


def _findings(world: VectorEnv, notes: tuple[str, ...]) -> Findings:
    import envs
    from envs.checks.vector_env import time_limit_notes

    try:
        tables = envs.compile_world(world)
        return Findings(len(tables.states), (*notes, *time_limit_notes(tables, world)))
    except envs.NotEnumerable as reason:
        return Findings(None, notes or (one_line(reason),))


def _skip_evaluation(step: int, metrics: dict[str, float]) -> None:
    """Evaluates nothing at a checkpoint."""


class _NullRecorder:
    """A recorder that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, done: int, value: float) -> None: ...
    def tags(self, values: Mapping[str, str]) -> None: ...


@_quiet()
def rehearse(config: TrainConfig, evaluates: bool = True) -> None:
    """Trains, evaluates and saves a small agent, and discards it.

    Args:
        config: The run to rehearse.
        evaluates: Whether to evaluate the agent, which takes most of the time.

    Raises:
        UserError: Training, evaluation or saving raises an exception.
    """
    width = {"width": config.training.width} if config.start else {}  # which must be that of the agent
    training = Training(**{**config.training.model_dump(), **REHEARSAL_SETTINGS, **width})
    small = config.model_copy(update={"training": training, "steps": 1, "checkpoints": 1})
    log = logging.getLogger("agents")
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # the run itself repeats its warnings
        _step_all_copies(config)
        with TemporaryDirectory() as folder:
            _rehearse(small, Path(folder), evaluates)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if _is_bug(config.env, error):
            raise
        line = f"method {config.method!r} in environment {config.env!r}: {error_line(error)}"
        raise UserError(f"{line}; it would fail in training") from None
    finally:
        log.setLevel(level)


def _rehearse(config: TrainConfig, folder: Path, evaluates: bool) -> None:
    import agents
    from flows.running import train
    from routing import find

    env, model = train.build_learner(config)
    visit: Callable[[int, dict[str, float]], None] = _skip_evaluation
    file = None
    if evaluates:
        arguments = train.world_arguments(config)
        evaluate, exact = agents.make_evaluator(config.env, config.seed, episodes=COPIES, **arguments)
        evaluator = train.CheckpointEvaluator(
            model.policy, evaluate, find(config.method).deployments, _NullRecorder(folder)
        )
        file = agents.StateFile(folder / train.STATE, config.model_dump_json(), evaluator)
        if exact or _episodes_end(config.env, env.env):
            visit = evaluator.visit
    model.learn(config.steps, callback=agents.Checkpoints(config.steps, config.checkpoints, visit, file))
    if evaluates:
        with log_suppressed(logger, "drawing the environment", logging.DEBUG):  # runs may lack pictures
            world: Any = env.env
            start = world.initial(1)[0]
            world.layout(start)
            world.picture(start)
    rules = find(config.method).deployments
    train.save_agent(config, model.policy, folder, {rule.name: 0.0 for rule in rules if rule.measured})
    if evaluates and config.relearn_updates and visit is not _skip_evaluation:
        use = agents.use_of(rules[0], 0.0)
        once = config.model_copy(update={"relearn_updates": 1})
        train.relearn_deployed(once, model.policy, use, evaluate, _NullRecorder(folder))
    env.close()


def _step_all_copies(config: TrainConfig) -> None:
    """Builds as many copies as the run does and takes a step: some environments work only for few."""
    from flows.running.train import world_arguments

    world = make_env(config.env, world_arguments(config), config.training.n_envs)
    world.reset(seed=0)
    world.step(world.action_space.sample())
    world.close()


def _episodes_end(name: str, world: VectorEnv) -> bool:
    """Returns whether every copy ends an episode soon, which an evaluation by sampling waits for.

    Raises:
        UserError: No episode ends, and the environment has no time limit.
    """
    world.reset(seed=0)
    ended = np.zeros(world.num_envs, bool)
    for _ in range(RANDOM_STEPS):
        terminated, truncated = world.step(world.action_space.sample())[2:4]
        ended |= np.asarray(terminated) | np.asarray(truncated)
        if ended.all():
            return True
    limits = (getattr(world, "max_episode_steps", None), world.spec and world.spec.max_episode_steps)
    if not ended.any() and not any(limits):
        raise UserError(
            f"environment {name!r}: no episode ends within {RANDOM_STEPS:,} random steps and there is no "
            "max_episode_steps; evaluation by sampling would not end"
        )
    return False
