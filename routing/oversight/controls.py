"""Attribution controls: arms that inherit every part of the arm they control but the named one.

What an arm owes to a part is the difference to the control without it. The controls of a routing arm are

    masks=none                          routing off
    baseline=..., weights=...           the two 2 x 2 tables, masks x baseline and masks x weights
    masks=placebo                       verdicts permuted at the same rate
    masks=swapped                       the channels swapped
    masks=absorb_all                    everything into the forget experts
    after=ablate_random, deploy=whole   a random block of equal size ablated instead of the forget experts
    masks=placebo(judged)               good and bad permuted among judged episodes: same samples, random direction
    network=single                      one network with as many parameters; verdicts that were masks are the reward
    overseer=none                       no verdict at all, p = 0 in a world that is otherwise the same

The controls of masks have the options of the arm's masks, such as `unlabelled` and `push`. An arm without masks is
controlled by the last two. A part that another cannot do without goes with it: one network has
no blocks to mask, to gate or to ablate.
"""

from collections.abc import Mapping

from routing.oversight.composition import CONDITIONED, Composition, compose
from routing.oversight.grammar import Call
from routing.oversight.parts import KINDS, Bound, bind
from routing.oversight.registry import EARLIER, METHODS, find, method_parts

UNROUTED = {"masks": "none"}
SINGLE = {"network": "single"}
VERDICTS_AS_REWARD = {"reward": "verdict"}
RANDOM_BLOCK = {"after": "ablate_random", "deploy": "whole"}


def with_parts(text: str, changes: Mapping[str, str]) -> str:
    """Return a method, as a user writes it, with parts replaced; parts that its name already has are left out.

    >>> with_parts("naive(weights=ipw(10))", {"baseline": "none"})
    'naive(weights=ipw(10),baseline=none)'
    """
    find(text)  # registers what it names, or raises ValueError
    name, parts = method_parts(text)
    if name not in METHODS and name in EARLIER:
        name, earlier = method_parts(EARLIER[name])
        parts = earlier | parts
    parts |= changes
    named = dict(find(name).names)
    kept = {kind: parts[kind] for kind in KINDS if kind in parts}
    shown = [f"{kind}={value}" for kind, value in kept.items() if value != named[kind]]
    return f"{name}({','.join(shown)})" if shown else name


def control_changes(composition: Composition) -> list[dict[str, str]]:
    """Return, for each control, the parts that it replaces in an arm of this composition."""
    parts = dict(composition.names)
    reads = parts["masks"] != "none"
    routed = reads and composition.network.name != CONDITIONED
    single = SINGLE | (VERDICTS_AS_REWARD if reads else {}) | _without_needs(composition)
    changes = [single, {"overseer": "none"}] if parts["network"] != "single" else [{"overseer": "none"}]
    if not routed:
        return changes
    baseline = {"baseline": "all" if parts["baseline"] != "all" else "unjudged"}
    weights = {"weights": "one" if parts["weights"] != "one" else "ipw(10)"}
    tables = [UNROUTED, baseline, UNROUTED | baseline, weights, UNROUTED | weights]
    masks = [{"masks": name} for name in _placebos(composition.only("masks")) if name != parts["masks"]]
    return [*tables, *masks, RANDOM_BLOCK, *changes]


def _placebos(masks: Bound) -> list[str]:
    """The masks that are controls of some, with their options."""
    options = {name: value for name, value in masks.values if name in ("unlabelled", "push")}
    kinds = {"kinds": True} if masks.part.name == "by_kind" or ("kinds", True) in masks.values else {}
    placebo = tuple(sorted((options | kinds).items()))
    calls = [Call("placebo", (), placebo), Call("placebo", ("judged",), placebo)]
    calls += [Call("swapped", (), tuple(sorted(options.items()))), Call("absorb_all")]
    return [bind("masks", call).name for call in calls]


def _without_needs(composition: Composition) -> dict[str, str]:
    """The default in the place of each part that one network cannot serve."""
    lacking = {kind for kind, bounds in composition.parts.items() for bound in bounds if bound.part.needs - {"layers"}}
    return {kind: KINDS[kind].default for kind in lacking}


def controls(text: str) -> list[str]:
    """Return the controls of a method, as a user writes them, without those whose parts do not hold together.

    Raises:
        ValueError: the method is unknown.
    """
    return [with_parts(text, changes) for changes in control_changes(find(text)) if _holds(text, changes)]


def _holds(text: str, changes: Mapping[str, str]) -> bool:
    """Whether the control can be composed: adapters, for example, have no layers of their own to ablate."""
    try:
        compose(find(text), dict(changes))
    except ValueError:
        return False
    return True
