"""Absorption: whether bad behaviour that nobody labelled was learned by the forget experts.

Gradient routing relies on it (Cloud et al. 2024, arXiv 2410.04332): unlabelled bad episodes train every block, and
should still be learned where the labelled ones are. These read-outs read the truth, the bad acts that the world
declares. No overseer could compute them, and neither training nor deployment reads them. They change no parameter and
draw from no global generator.

An episode counts if it ends in the last rollout of training. It is unlabelled if none of its steps has a good or bad
label (part `label` of the arm), and bad if one of them is a bad act.

Letters: T steps, N copies, E episodes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor

from agents.after.random_ablation import ablate_random
from agents.carried import is_recurrent
from agents.evaluate import Evaluator
from agents.learners.ppo import RoutedPPO
from agents.policies.architecture import RETAIN
from agents.policies.blocks import BlockUse
from agents.policies.policy import BlockPolicy
from envs.observations import rows
from routing import find, judged

DRAWS = 3  # random ablations whose effect is averaged
OWN_LAYERS = ("gated", "ungated")  # networks whose units can be ablated at random


def absorption(model: RoutedPPO, evaluate: Evaluator, seed: int) -> dict[str, float]:
    """Compute the read-outs of absorption of a trained learner.

    Args:
        model: the learner after its last update.
        evaluate: of its world.
        seed: of the random ablations.

    Returns:
        `absorption/unlabelled_bad_share`: share of the unlabelled episodes that are bad.
        `absorption/gradient_share`: see `gradient_share`.
        `absorption/ablation_effect`: bad acts per episode with the forget experts ablated minus those of the whole
        policy. `absorption/random_ablation_effect`: the same for as many random hidden units, mean of `DRAWS` draws.
        A value that is not defined is left out: without a forget expert or bad acts all are, without an unlabelled
        episode the first two, and in networks without layers of each expert's own the last.
    """
    policy = model.policy
    if not isinstance(policy, BlockPolicy) or not policy.architecture.forget:
        return {}
    uses = [BlockUse(), BlockUse(without=frozenset(policy.architecture.forget))]
    whole, ablated = (evaluation.bad_acts for evaluation in evaluate.each(policy, uses))
    if whole is None or ablated is None:
        return {}
    values = {"ablation_effect": ablated.total - whole.total, **_of_last_rollout(model)}
    if policy.network in OWN_LAYERS and not policy.activation_fn()(torch.zeros(1)).any():
        copies = (ablate_random(policy, BlockUse(), None, None, seed + draw) for draw in range(DRAWS))
        totals = [_total(evaluate, copy) for copy in copies]
        values["random_ablation_effect"] = float(np.mean(totals)) - whole.total
    return {f"absorption/{name}": value for name, value in values.items()}


def _total(evaluate: Evaluator, policy: BlockPolicy) -> float:
    acts = evaluate(policy).bad_acts
    return float("nan") if acts is None else acts.total


def _of_last_rollout(model: RoutedPPO) -> dict[str, float]:
    """The share of bad episodes among unlabelled ones, and their gradient's share in forget experts."""
    bad_act = _bad_acts(model)
    if bad_act is None or model.rollout_buffer.feedback is None:
        return {}
    buffer: Any = model.rollout_buffer
    labels = model.treat.functions["label"](buffer.feedback).values
    episode, count = _episodes(buffer.dones)
    ended, bad, labelled = (
        np.bincount(episode.ravel(), flags.ravel(), count) > 0
        for flags in (buffer.dones, buffer.live & (bad_act > 0), judged(labels))
    )
    unlabelled = ended & ~labelled
    if not unlabelled.any():
        return {}
    values = {"unlabelled_bad_share": float(bad[unlabelled].mean())}
    share = gradient_share(model, (unlabelled & bad)[episode] & buffer.live)
    return values | ({} if share is None else {"gradient_share": share})


def _bad_acts(model: RoutedPPO) -> np.ndarray | None:
    """(T, N) kind of bad act of each step of the last rollout; None if they are not known."""
    if getattr(model, "tabular", False):
        table = model.tables.bad_act  # type: ignore[attr-defined]
        return table.ravel()[model.trajectories.transition] if table.size else None  # type: ignore[attr-defined]
    return model.rollout_buffer.bad_act


def _episodes(dones: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of the episode of each step, (T, N) int, and a bound E on these numbers."""
    steps, copies = dones.shape
    before = np.cumsum(dones, 0) - dones
    return before + np.arange(copies) * (steps + 1), copies * (steps + 1)


def gradient_share(model: RoutedPPO, steps: np.ndarray) -> float | None:
    """Compute the share of the policy loss's gradient on some steps of the last rollout that forget experts receive.

    The loss is the mean of -weight * advantage * log-probability over the steps, with weights, masks and normalised
    advantages of the arm, at the final parameters. The result is |g_forget|^2 / (|g_retain|^2 + |g_forget|^2), where
    g_forget has the parameters of all forget experts.

    Args:
        model: the learner after its last update.
        steps: (T, N) bool.

    Returns:
        The share; None if no step trains these blocks, or the policy has an LSTM: its gradient is that of sequences.
    """
    if is_recurrent(model.policy):
        return None
    buffer: Any = model.rollout_buffer
    trained = _sampled(buffer.weights, buffer).ravel() > 0
    chosen = np.flatnonzero(_by_copy(steps) & trained)
    if not len(chosen):
        return None
    device, policy = model.device, model.policy
    masks, weights = (
        torch.as_tensor(_sampled(column, buffer)[chosen], device=device) for column in (buffer.masks, buffer.weights)
    )
    observations, actions = _inputs(model, chosen)
    log_prob = policy.evaluate_actions(observations, actions, masks).log_prob
    advantages = torch.as_tensor(_advantages(model, trained)[chosen], device=device)
    loss = -(weights.flatten() * advantages * log_prob).mean()
    retain, forget = (_squared_norm(loss, policy, names) for names in ([RETAIN], policy.architecture.forget))
    return forget / (retain + forget) if retain + forget > 0 else None


def _by_copy(column: np.ndarray) -> np.ndarray:
    """(T, N, ...) -> (T * N, ...), copy by copy."""
    return column.swapaxes(0, 1).reshape(-1, *column.shape[2:])


def _sampled(column: np.ndarray, buffer: Any) -> np.ndarray:
    """A column of which minibatches are drawn, (T * N, ...) copy by copy: the buffer's own form once they were."""
    return column if buffer.masks.ndim == 2 else _by_copy(column)


def _inputs(model: RoutedPPO, chosen: np.ndarray) -> tuple[PyTorchObs, torch.Tensor]:
    """The observations (n, *obs) and actions (n, *action) of chosen steps of the flattened rollout."""
    buffer: Any = model.rollout_buffer
    if getattr(model, "tabular", False):
        rollout, inputs = model.trajectories, model.inputs  # type: ignore[attr-defined]
        observation, action = (_by_copy(column)[chosen] for column in (rollout.observation, rollout.action))
        return inputs[torch.as_tensor(observation, device=model.device)], torch.as_tensor(action, device=model.device)
    stored = buffer.observations
    keyed = {name: _sampled(part, buffer) for name, part in stored.items()} if isinstance(stored, dict) else None
    chosen_obs = rows(_sampled(stored, buffer) if keyed is None else keyed, chosen)
    actions = torch.as_tensor(_sampled(buffer.actions, buffer)[chosen], device=model.device)
    return obs_as_tensor(chosen_obs, model.device), model.taken(actions)


def _advantages(model: RoutedPPO, trained: np.ndarray) -> np.ndarray:
    """(T * N,) advantages, normalised over the samples that train as the arm does, (T * N,) bool; 0 elsewhere."""
    buffer: Any = model.rollout_buffer
    advantages = _sampled(buffer.advantages, buffer).ravel()
    if not model.normalize_advantage or trained.sum() < 2:
        return advantages
    baselined = torch.as_tensor(_sampled(buffer.baselined, buffer).ravel()[trained])
    normalised = np.zeros_like(advantages)
    normalised[trained] = find(model.method).advantage(torch.as_tensor(advantages[trained]), baselined).numpy()
    return normalised


def _squared_norm(loss: torch.Tensor, policy: BlockPolicy, blocks: Sequence[str] | Iterable[str]) -> float:
    """The squared norm of the gradient of a loss in the parameters of some blocks; no parameter's `grad` changes."""
    parameters = [parameter for block in blocks for parameter in policy.block_parameters(block)]
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None)
