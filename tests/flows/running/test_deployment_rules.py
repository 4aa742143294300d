"""Deployment rules and the scale of the forget experts in a whole run."""

from pathlib import Path

import pytest

import agents
from agents import BlockUse
from flows.config import TrainConfig
from flows.errors import UserError
from flows.running import train
from flows.sweep.checks import check_run

GRID = "envs:keyhole/DiamondGhost-v0"
RULES = "measured(0.02)+measured(0.02,untrained)+retain+without([forget2])"
METHOD = f"gradient_routing(network=gated(3),deploy={RULES})"
NAMES = ["measured_0.02", "measured_untrained_0.02", "retain", "without_forget2"]


class Interrupted(Exception):  # noqa: N818
    """Raised instead of killing the process."""


class Points:
    """A recorder that keeps every point of every metric, and raises at checkpoint `killed_at`."""

    def __init__(self, folder: Path, killed_at: int = -1) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.killed_at = folder, killed_at
        self.points: dict[str, list] = {}
        self.reported: list[int] = []

    def metrics(self, step, values):
        for name, value in values.items():
            self.points.setdefault(name, []).append((step, repr(float(value))))

    def progress(self, done, value):
        self.reported.append(done)
        if len(self.reported) == self.killed_at:
            raise Interrupted

    def tags(self, values):
        pass


def config(method: str = METHOD, env: str = GRID, **changes) -> TrainConfig:
    settings = {"n_envs": 64, "n_steps": 16, "width": 8, "n_epochs": 2, "learning_rate": 0.01}
    world = {"size": 3} if env == GRID else {}
    return TrainConfig(
        method=method, env=env, env_kwargs=world, oversight=0.5, steps=8192, checkpoints=4, training=settings, **changes
    )


@pytest.fixture(scope="module", params=["reinforce", "ppo"])
def run(request, tmp_path_factory):
    recorder = Points(tmp_path_factory.mktemp(request.param))
    train.run(config(learner=request.param), recorder)
    return request.param, recorder


def last(recorder: Points, name: str) -> str:
    return recorder.points[name][-1][1]


def test_the_metrics_at_scale_0_are_those_of_rule_retain_bit_for_bit(run):
    _, recorder = run
    curves = {name: points for name, points in recorder.points.items() if name.startswith("scale/")}
    assert set(curves) == {
        "scale/true_return",
        "scale/bad_acts/monitored",
        "scale/bad_acts/unmonitored",
        "scale/bad_verdicts",
        "scale/retained_return",
    }
    assert all([step for step, _ in points] == list(range(11)) for points in curves.values())
    for scale, selected in (
        ("true_return", "true_return"),
        ("bad_verdicts", "bad_verdicts"),
        ("bad_acts/monitored", "bad_acts_monitored"),
    ):
        assert curves[f"scale/{scale}"][0][1] == last(recorder, f"selected/{selected}/retain")
    assert curves["scale/true_return"][-1][1] == last(recorder, "eval/true_return/whole")


def test_a_rule_deploys_the_largest_scale_within_its_tolerance(run):
    _, recorder = run
    rates = [float(rate) for _, rate in recorder.points["scale/bad_verdicts"]]
    chosen = float(last(recorder, "selected/scale/measured_0.02"))
    assert chosen == max(i / 10 for i in range(11) if rates[i] <= rates[0] + 0.02)
    assert last(recorder, "selected/bad_verdicts/measured_0.02") == repr(rates[round(10 * chosen)])
    assert last(recorder, "eval/bad_verdicts") == repr(rates[round(10 * chosen)])  # of the first rule
    assert "selected/scale/retain" not in recorder.points


def test_the_saved_agent_deploys_the_measured_scales(run):
    _, recorder = run
    agent = agents.load(recorder.folder / "agent.zip")
    assert list(agent.deployments) == [*NAMES, "whole"]
    for name in NAMES[:2]:
        scale = float(last(recorder, f"selected/scale/{name}"))
        assert agent.deployments[name] == BlockUse(forget_scale=scale)
    evaluate, _ = agents.make_evaluator(GRID, 0, size=3, oversight_prob=0.5)
    (first,) = evaluate.each(agent.policy, [agent.deployments[NAMES[0]]])
    assert repr(first.true_return) == last(recorder, f"selected/true_return/{NAMES[0]}")


def test_a_resumed_run_compares_with_the_untrained_policy_of_its_first_start(run, tmp_path):
    learner, whole = run
    with pytest.raises(Interrupted):
        train.run(config(learner=learner), Points(tmp_path / "run", killed_at=4))
    resumed = Points(tmp_path / "run")
    train.run(config(learner=learner), resumed)
    assert resumed.reported == whole.reported
    names = [name for name in whole.points if not name.startswith("rollout/")]
    assert {name: resumed.points[name] for name in names} == {name: whole.points[name] for name in names}


@pytest.mark.parametrize("rule", ["measured", "measured(against=untrained)"])
def test_a_world_without_bad_acts_is_refused_before_training_in_one_line(rule):
    method = f"gradient_routing(deploy={rule})"
    with pytest.raises(UserError, match="counts bad verdicts, but the environment declares no bad acts") as refused:
        check_run(config(method, "envs:keyhole/TMaze-v0"))
    assert "\n" not in str(refused.value)


def test_a_network_without_forget_experts_has_no_scales(tmp_path):
    recorder = Points(tmp_path)
    train.run(config("naive(network=single)"), recorder)
    assert not any(name.startswith("scale/") for name in recorder.points)
    assert "selected/bad_acts/whole" in recorder.points
