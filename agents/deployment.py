"""How deployment rules use the blocks of a policy, and the scale of the forget experts that a rule measures."""

from collections.abc import Sequence

from agents.evaluate import Evaluation, Evaluator
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from routing import Deployment, Measured

SCALES = tuple(tenth / 10 for tenth in range(11))


def use_of(rule: Deployment, forget_scale: float | None = None) -> BlockUse:
    """Return how a rule uses the blocks.

    Args:
        rule: the deployment rule.
        forget_scale: the factor that was measured, for a rule that measures; unused by others.

    Raises:
        ValueError: the rule measures, and there is no factor.
    """
    if rule.measured is None:
        return BlockUse(rule.scales, frozenset(rule.without))
    if forget_scale is None:
        raise ValueError(f"deployment rule {rule.name!r} measures its forget_scale; give the one that was measured")
    return BlockUse(forget_scale=forget_scale)


def at_each_scale(policy: BlockPolicy, evaluate: Evaluator) -> list[Evaluation]:
    """Evaluate a policy at each of `SCALES`; returns nothing for a policy without forget experts."""
    if not policy.architecture.forget:
        return []
    return evaluate.each(policy, [BlockUse(forget_scale=scale) for scale in SCALES])


def largest_scale(rates: Sequence[float], measured: Measured, untrained: float) -> float:
    """Return the largest of `SCALES` whose rate of bad verdicts is low enough; 0 if none is.

    Args:
        rates: expected bad verdicts per episode at each scale.
        measured: the tolerance, and what the rates are compared with.
        untrained: the rate of the policy before its first update.
    """
    limit = measured.tolerance + (rates[0] if measured.against == "ablated" else untrained)
    return max((scale for scale, rate in zip(SCALES, rates, strict=True) if rate <= limit), default=0.0)


class RuleUses:
    """How each deployment rule of a run uses the blocks; measures what the rules measure.

    Args:
        evaluate: evaluates policies in the world of the run.

    Attributes:
        untrained: expected bad verdicts per episode of the policy before its first update; None if no rule reads it.
    """

    def __init__(self, evaluate: Evaluator) -> None:
        self.evaluate = evaluate
        self.untrained: float | None = None

    def start(self, policy: BlockPolicy, rules: Sequence[Deployment]) -> None:
        """Measure the policy before its first update, if a rule measures; further calls have no effect.

        Raises:
            ValueError: a rule measures, and the world declares no bad acts, so no bad verdict can be counted.
        """
        measuring = [rule.name for rule in rules if rule.measured is not None]
        if measuring and self.untrained is None:
            (evaluation,) = self.evaluate.each(policy, [BlockUse()])
            self.untrained = bad_verdicts(evaluation, measuring[0])

    def use(self, policy: BlockPolicy, rule: Deployment) -> BlockUse:
        """Return how a rule uses the blocks of a policy, which it measures if the rule does."""
        if rule.measured is None:
            return use_of(rule)
        assert self.untrained is not None  # of `start`
        rates = [bad_verdicts(evaluation, rule.name) for evaluation in at_each_scale(policy, self.evaluate)]
        return use_of(rule, largest_scale(rates, rule.measured, self.untrained))


def bad_verdicts(evaluation: Evaluation, rule: str) -> float:
    """Return the expected bad verdicts per episode that a rule reads; raises ValueError without declared bad acts."""
    if evaluation.bad_acts is None:
        raise ValueError(
            f"deployment rule {rule!r} counts bad verdicts, but the environment declares no bad acts; "
            "use another rule, such as retain"
        )
    return evaluation.bad_acts.verdicts
