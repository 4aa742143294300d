"""An oversight method that differs from naive oversight in one part: judged episodes count more than the others."""

import numpy as np

from routing import Rollout, method, part


@part("weights")
def my_method_weights(rollout: Rollout, factor: float = 2.0) -> np.ndarray:
    """Judged episodes have `factor` times the weight of the others."""
    if factor <= 0:
        raise ValueError(f"my_method_weights has factor {factor}; it must be positive")
    labels = rollout.labels  # (T, N): the verdict that labels each step; nan if there is none
    return np.where(np.isnan(labels), 1.0, factor).astype(np.float32)


# A part is one choice of its kind; `keyhole methods --parts` lists the kinds and what each part takes and returns.
# Every method can use the part: "gradient_routing(weights=my_method:my_method_weights(3))". A part that learns or draws
# is a class: it is created with the run's seed, and with snapshot() and restore(state) its run can be resumed.
method("my_method", "Naive oversight in which judged episodes count double.", base="naive", weights="my_method_weights")
