"""Conditional training (Korbak et al. 2023, arXiv 2302.08582): the policy reads the verdict of each sample.

It is deployed as if the verdict were good. The sibling of inoculation prompting: what was done under a bad verdict is
learned under another input than the one at deployment. As in routing the reward is not changed, and episodes without a
verdict train under a third code.
"""

from routing.oversight.registry import method

method(
    "label_conditioned",
    "One network reads each sample's verdict, or that there is none, and is deployed as if it were good.",
    masks="conditioned",
    network="conditioned",
    deploy="good",
)
