"""An interrupted and resumed run gives the same numbers, bit for bit, as an uninterrupted one."""

import errno
import math
import os
import stat
from pathlib import Path

import gymnasium
import pytest
import torch
from gymnasium.vector import VectorWrapper

import agents
from agents.learners.nan_guard import NotFiniteError, check_finite_loss
from agents.learners.reinforce import RoutedReinforce
from envs.wrappers import AgentKnowledge
from routing import Deployment

TABLES = {"env_id": "envs:keyhole/DiamondGhost-v0", "size": 3, "oversight_prob": 0.4}
NO_TABLES = {**TABLES, "env_id": "odd/Noisy-v0"}
LIMITED = {**TABLES, "overseer": "recall(0.5,ghost)|noise(0.1)|budget(150)|delay(3)"}
AUDITED = {"env_id": "envs:keyhole/HideErrors-v0", "oversight_prob": 0.4, "overseer": "budget(300)|delay(2)"}
ROLLOUTS, CHECKPOINTS = 8, 4
STEPS = 64 * 16 * ROLLOUTS
RULES = (Deployment("best", selects_by="seen"), Deployment("last"))


class Silent(VectorWrapper):
    """A wrapper that forwards attributes but has no snapshot of its own."""

    @property
    def metadata(self):
        return self.env.metadata

    def __getattr__(self, name: str):
        return getattr(self.env, name)


def noisy(**arguments) -> AgentKnowledge:
    """A world that cannot be enumerated."""
    return AgentKnowledge(gymnasium.make_vec("keyhole/DiamondGhost-v0", vectorization_mode=None, **arguments), "noisy")


gymnasium.register(id="odd/Noisy-v0", vector_entry_point=noisy)
gymnasium.register(id="odd/Silent-v0", vector_entry_point=lambda **arguments: Silent(noisy(**arguments)))


class Interrupted(Exception):  # noqa: N818
    """Raised instead of killing the process."""


class Watcher:
    """Records the policy's parameters at each visit, and raises at visit `killed_at`."""

    def __init__(self, model, killed_at: int | None = None) -> None:
        self.model, self.killed_at = model, killed_at
        self.choices = [agents.CheckpointChoice(rule) for rule in RULES]
        self.seen: list[list] = []

    def visit(self, step: int, metrics: dict[str, float]) -> None:
        if len(self.seen) == self.killed_at:
            raise Interrupted
        norm = float(sum(p.detach().double().abs().sum() for p in self.model.policy.parameters()))
        for choice in self.choices:
            choice.consider(step, {"seen": -norm}, self.model.policy.state_dict())
        self.seen.append([step, norm, metrics])

    def snapshot(self) -> dict:
        return {"seen": self.seen, "choices": [choice.snapshot() for choice in self.choices]}

    def restore(self, state: dict) -> None:
        self.seen = state["seen"]
        for choice, chosen in zip(self.choices, state["choices"], strict=True):
            choice.restore(chosen)


def learned(path: Path, world: dict, method: str, algorithm: str, killed_at: int | None = None, **settings) -> Watcher:
    """Run, resuming from the state in `path` if there is one."""
    env = agents.make_vec_env(n_envs=64, **world)
    model = agents.build(
        env, method, 3, algorithm=algorithm, n_steps=16, width=8, batch_size=256, n_epochs=2, **settings
    )
    watcher = Watcher(model, killed_at)
    file = agents.StateFile(path, f"{method} {algorithm}", watcher)
    model.learn(STEPS, callback=agents.Checkpoints(STEPS, CHECKPOINTS, watcher.visit, file))
    return watcher


def recorded(watcher: Watcher) -> str:
    """Everything the watcher recorded, in full precision."""
    chosen = [
        (choice.step, choice.best, [p.tolist() for p in choice.parameters.values()]) for choice in watcher.choices
    ]
    return repr((watcher.seen, chosen))


def interrupted(path: Path, killed_at: int, *run, **settings) -> Watcher:
    """The run, interrupted at a visit and resumed."""
    with pytest.raises(Interrupted):
        learned(path, *run, killed_at=killed_at, **settings)
    return learned(path, *run, **settings)


@pytest.mark.parametrize(
    ("method", "algorithm", "world"),
    [
        ("gradient_routing", "reinforce", TABLES),
        ("reward_model", "reinforce", TABLES),
        ("naive", "reinforce", NO_TABLES),
        ("gradient_routing", "ppo", TABLES),
        ("reward_model", "ppo", NO_TABLES),
        ("gradient_routing", "reinforce", LIMITED),
        ("naive", "ppo", LIMITED),
        ("naive", "ppo", {**NO_TABLES, "overseer": LIMITED["overseer"]}),
        ("routing_tuned", "reinforce", TABLES),
        ("routing_tuned", "ppo", NO_TABLES),
        ("routing_split_adam", "reinforce", TABLES),
        ("routing_split_adam", "ppo", TABLES),
        ("label_conditioned", "ppo", TABLES),
        ("gradient_routing(masks=placebo,label=step)", "reinforce", AUDITED),
        ("reward_model(reward=model(steps))", "ppo", AUDITED),
        ("oracle_filtering(reward=abstaining)", "reinforce", LIMITED),
        ("importance_weighting(reward=taint(match=model))", "ppo", TABLES),
    ],
)
def test_a_resumed_run_continues_bit_for_bit(tmp_path, method, algorithm, world):
    whole = learned(tmp_path / "whole.pt", world, method, algorithm)
    assert recorded(interrupted(tmp_path / "state.pt", 3, world, method, algorithm)) == recorded(whole)


@pytest.mark.parametrize("setting", [{"whole_episodes": False}, {"precision": "bf16"}], ids=str)
def test_a_resumed_run_continues_bit_for_bit_with_each_setting(tmp_path, setting):
    run = TABLES, "gradient_routing", "reinforce"
    again = interrupted(tmp_path / "state.pt", 3, *run, **setting)
    assert recorded(again) == recorded(learned(tmp_path / "whole.pt", *run, **setting))


def test_a_run_resumes_bit_for_bit_from_every_checkpoint(tmp_path):
    run = TABLES, "naive", "reinforce"
    whole = recorded(learned(tmp_path / "whole.pt", *run))
    for killed_at in range(CHECKPOINTS + 1):
        assert recorded(interrupted(tmp_path / f"{killed_at}.pt", killed_at, *run)) == whole


def test_a_run_resumes_bit_for_bit_between_checkpoints_and_after_the_world_switched_to_tables(tmp_path, monkeypatch):
    monkeypatch.setattr("envs.pomdp.WARM_UP", STEPS // 2)
    monkeypatch.setattr("agents.saving.run_state.SAVE_SECONDS", 0.0)  # a state at every rollout
    run = TABLES, "naive", "ppo"
    again = interrupted(tmp_path / "state.pt", 3, *run)
    assert recorded(again) == recorded(learned(tmp_path / "whole.pt", *run))


def test_a_resumed_run_does_not_repeat_rollouts(tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        learned(tmp_path / "state.pt", TABLES, "naive", "reinforce", killed_at=3)
    rollouts = []
    collect = RoutedReinforce.collect_rollouts
    monkeypatch.setattr(RoutedReinforce, "collect_rollouts", lambda *a, **k: rollouts.append(1) or collect(*a, **k))
    learned(tmp_path / "state.pt", TABLES, "naive", "reinforce")
    rest = len(rollouts)
    learned(tmp_path / "another.pt", TABLES, "naive", "reinforce")
    whole = len(rollouts) - rest
    assert abs(rest - whole / 2) <= 1


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-9] + b"?" + b[-8:], lambda b: b""])
def test_a_damaged_state_is_not_used(tmp_path, damage, caplog):
    path, run = tmp_path / "state.pt", (TABLES, "naive", "reinforce")
    with pytest.raises(Interrupted):
        learned(path, *run, killed_at=3)
    path.write_bytes(damage(path.read_bytes()))
    again = learned(path, *run)
    assert "the run starts from the beginning" in caplog.text
    assert recorded(again) == recorded(learned(tmp_path / "whole.pt", *run))


def test_the_state_of_another_run_is_not_used(tmp_path):
    with pytest.raises(Interrupted):
        learned(tmp_path / "state.pt", TABLES, "naive", "reinforce", killed_at=3)
    file = agents.StateFile(tmp_path / "state.pt", "naive ppo", Watcher(None))
    assert file.state is None
    assert "other settings" in file.damage


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_a_state_and_its_temporary_file_can_be_read_by_their_owner_alone_whatever_the_umask(
    tmp_path, monkeypatch, umask
):
    path, run = tmp_path / "state.pt", (TABLES, "naive", "reinforce")
    modes = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: modes.append(stat.S_IMODE(os.fstat(file).st_mode)) or sync(file))
    path.with_suffix(".new").touch(0o666)  # left by a killed process
    path.with_suffix(".new").chmod(0o666)
    before = os.umask(umask)
    try:
        with pytest.raises(Interrupted):
            learned(path, *run, killed_at=3)
    finally:
        os.umask(before)
    assert set(modes) == {stat.S_IMODE(path.stat().st_mode)} == {0o600}


def test_a_full_disk_loses_the_state_and_not_the_run(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agents.saving.run_state.os.fsync", full)
    watcher = learned(tmp_path / "state.pt", TABLES, "naive", "reinforce")
    assert len(watcher.seen) == CHECKPOINTS + 1
    assert "No space left" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_world_without_snapshot_runs_and_saves_no_state(tmp_path, caplog):
    world = {**NO_TABLES, "env_id": "odd/Silent-v0"}
    learned(tmp_path / "state.pt", world, "naive", "ppo")
    assert "Silent cannot save its state" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_a_loss_of_nan_ends_the_run_with_an_error_that_names_it(algorithm):
    env = agents.make_vec_env(n_envs=64, **TABLES)
    model = agents.build(env, "naive", 3, algorithm=algorithm, n_steps=16, width=8, vf_coef=math.nan)
    with pytest.raises(NotFiniteError, match=r"^update 0: the loss \(nan\) is not finite; try"):
        model.learn(STEPS)


def test_an_infinite_parameter_is_named_in_the_error():
    policy = torch.nn.Linear(2, 2)
    with torch.no_grad():
        policy.bias[1] = math.inf
    with pytest.raises(NotFiniteError, match="update 7: parameter bias is not finite"):
        check_finite_loss(torch.tensor(math.nan), policy, 7)


def test_without_a_signal_the_last_checkpoint_is_selected_and_the_first_signal_replaces_it():
    choice = agents.CheckpointChoice(Deployment("best", selects_by="seen"))
    for step, metrics in enumerate([{}, {}, {"seen": -5.0}, {"seen": -6.0}, {}]):
        choice.consider(step, metrics, {})
        assert choice.step == [0, 1, 2, 2, 2][step]
