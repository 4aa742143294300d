"""What is done once to a trained policy before it is deployed; each function returns a new policy.

The part `after` of an arm names a function of `AFTER`.
"""

from collections.abc import Callable

from agents.after.distillation import distil
from agents.after.random_ablation import ablate_random
from agents.policies.policy import BlockPolicy

AFTER: dict[str, Callable[..., BlockPolicy]] = {"ablate_random": ablate_random, "distil": distil}
"""name -> (policy, use, observations (n, *obs), weights (n,), seed, **arguments) -> policy, to be deployed whole"""

__all__ = ["AFTER", "ablate_random", "distil"]
