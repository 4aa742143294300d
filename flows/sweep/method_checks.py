"""Checks what the parts of an arm require of its world, as they declare it (`routing.part(..., world=...)`).

The world is that of the run: with the limits of the overseer and with audits. Where it has tables, only steps that can
happen count, so a verdict that no step can get is none. Without tables the declared verdicts count, and what they do
not decide is left to training.
"""

from typing import Any, NamedTuple

import numpy as np

from flows.config import NO_MEMORY, CompareConfig, SharedConfig, TrainConfig
from flows.errors import UserError

NOTED = "an expert for each kind"  # the only need that is noted, not required
ADVICE = {
    "bad verdicts": "choose another method, or an overseer that gives bad verdicts",
    "one-sided verdicts": "use reward=model, or limit the overseer to one kind of verdict",
    "positivity": "what is never judged cannot be weighted: use a reward model, or another overseer",
}


class Verdicts(NamedTuple):
    """The verdicts that an overseer can give in a world."""

    good: bool
    bad: bool
    kinds: int
    """number of overseer labels with a bad verdict"""
    unjudgeable: float = 0.0
    """share of the rewarded endings that are never judged; see `envs.positivity`"""
    known: bool = True
    """False: the world has no tables and its verdicts are computed from features, so nothing is known"""


def check_needs(config: TrainConfig) -> None:
    """Raises UserError if a part of the run's method requires what its world lacks, or there is nothing to relearn."""
    if config.relearn_updates:
        _check_bad_acts(config)
    check_requirements(config)


def check_requirements(config: TrainConfig) -> None:
    """Raises UserError if a part of the run's method requires what its world lacks.

    An oversight level of 0 has no verdicts by intention, so it lacks nothing.
    """
    needs = [(text, need) for text, need in world_needs(config.method) if need != NOTED]
    if not needs or not config.oversight:
        return
    verdicts = verdicts_of(config, positivity="positivity" in {need for _, need in needs})
    for text, need in needs:
        if verdicts.known and (found := fault(need, verdicts)):
            raise UserError(
                f"method {config.method!r} in environment {config.env!r}: {text} needs {_meaning(need)}, {found}; "
                f"{ADVICE[need]}"
            )


def world_needs(method: str) -> list[tuple[str, str]]:
    """Lists (part, need) of the parts of a method that require something of the world."""
    import routing

    parts = routing.find(method).parts
    return [
        (f"{kind}={bound.name}", need)
        for kind, bounds in parts.items()
        for bound in bounds
        for need in sorted(bound.part.world)
    ]


def fault(need: str, verdicts: Verdicts) -> str:
    """Returns what a world was found to have where it lacks what a part needs; empty if it lacks nothing."""
    if need == "bad verdicts" and not verdicts.bad:
        return f"and that of this world gives {'only good ones' if verdicts.good else 'none'}, limits included"
    if need == "one-sided verdicts" and verdicts.good and verdicts.bad:
        return "and those of this world are good and bad, limits included"
    if need == "positivity" and verdicts.unjudgeable > 0:
        return f"and {100 * verdicts.unjudgeable:.3g} % of those of a random policy can never get one"
    return ""


def _meaning(need: str) -> str:
    from routing.oversight.parts import WORLD

    return WORLD[need]


def method_notes(config: TrainConfig) -> list[str]:
    """Notes what a part of the run's method lacks without being wrong: experts for all kinds of bad verdicts."""
    import routing

    parts = [text for text, need in world_needs(config.method) if need == NOTED]
    if not parts:
        return []
    kinds, experts = verdicts_of(config).kinds, routing.find(config.method).network.experts - 1
    if kinds <= experts:
        return []
    return [
        f"{config.method}: {parts[0]} has {kinds} kinds of bad verdicts for {experts} forget "
        f"expert{'s' * (experts > 1)}; the last one takes all further kinds"
    ]


def sweep_notes(config: SharedConfig) -> list[str]:
    """Returns the notes of a run, or the distinct ones of a sweep's runs."""
    runs = config.runs() if isinstance(config, CompareConfig) else [config]
    first = {(run.method, repr(run.env_kwargs), run.overseer): run for run in runs}  # type: ignore[attr-defined]
    return list(dict.fromkeys(note for run in first.values() for note in method_notes(run)))  # type: ignore[arg-type]


def _check_bad_acts(config: TrainConfig) -> None:
    world = _world(config)
    declared = getattr(world, "bad_acts", ())
    world.close()
    if not declared:
        raise UserError(
            f"--relearn: environment {config.env!r} declares no bad acts, so nothing shows when they come back; "
            "leave out --relearn, or declare bad_acts in the environment"
        )


def _world(config: TrainConfig) -> Any:
    """The world of a run, without the agent's memory, on which no verdict depends."""
    import agents
    from flows.running.train import world_arguments

    return agents.make_world(config.env, 1, **world_arguments(config.model_copy(update={"memory": NO_MEMORY})))


def verdicts_of(config: TrainConfig, positivity: bool = False) -> Verdicts:
    """Returns the verdicts that the overseer of a run can give.

    Args:
        config: The run.
        positivity: Whether to compute which endings can be judged, where the world has tables.
    """
    import envs
    from envs.positivity import unjudgeable_share

    world = _world(config)
    try:
        verdicts = _tabulated(world, envs.compile_world(world))
        return verdicts._replace(unjudgeable=unjudgeable_share(world)) if positivity else verdicts
    except envs.NotEnumerable:
        return _declared(world)
    finally:
        world.close()


def _declared(world: Any) -> Verdicts:
    """The verdicts on the labels of a world without tables; unknown if they are computed, or audits reveal rewards."""
    judgement = np.asarray(world.judgement, float)
    bad = judgement < 0
    computed = not len(judgement) or getattr(world, "audits_hidden", False) or getattr(world, "overseer_features", ())
    return Verdicts(bool((judgement > 0).any()), bool(bad.any()), int(bad.sum()), known=not computed)


def _tabulated(world: Any, tables: Any) -> Verdicts:
    """The verdicts that some step of an enumerated world gets with positive probability."""
    possible = np.broadcast_to(tables.noise > 0, tables.successor.shape)
    judgement = np.asarray(world.judgement, float)
    verdict = judgement[np.minimum(tables.overseer_obs, len(judgement) - 1)]
    if world.audit_label is not None:
        verdict = np.where(tables.overseer_obs >= world.audit_label, tables.true_reward, verdict)
    bad = possible & (verdict < 0)
    return Verdicts(
        good=bool((possible & (verdict > 0)).any()),
        bad=bool(bad.any()),
        kinds=len(np.unique(tables.overseer_obs[bad])),
    )
