"""A loaded agent acts as the saved one, and loading a malicious file executes nothing."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agents
from agents import BadAgentError
from agents.saving import archive, spaces
from routing import METHODS, find

ENV, WORLD = "envs:keyhole/DiamondGhost-v0", {"size": 2, "oversight_prob": 0.3}
KINDS = {(find(name).gated, find(name).level): name for name in METHODS}


def trained(method: str = "gradient_routing"):
    env = agents.make_vec_env(ENV, 8, **WORLD)
    return agents.build(env, method, 0, n_steps=8, width=8).learn(128).policy


@pytest.fixture(scope="module")
def policy():
    return trained()


@pytest.fixture
def path(policy, tmp_path):
    agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, "gradient_routing", seed=7)
    return tmp_path / "agent.zip"


OBSERVATIONS = np.random.default_rng(0).integers(0, 2, (64, 5, 2, 2)).astype(np.int8)


@pytest.mark.parametrize("method", KINDS.values())
def test_a_loaded_policy_acts_as_the_saved_one_with_and_without_each_block(method, tmp_path):
    policy = trained(method)
    agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, method)
    agent = agents.load(tmp_path / "agent.zip")
    obs = torch.as_tensor(OBSERVATIONS)
    for without in ([], ["retain"], ["forget"], ["gate"]):
        with policy.deployed(without=without), agent.policy.deployed(without=without):
            theirs, ours = (agents.action_probabilities(p, obs) for p in (policy, agent.policy))
        assert torch.equal(theirs, ours)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, agent.policy.state_dict()[name])


def test_a_loaded_agent_has_the_saved_origin(path):
    agent = agents.load(path)
    assert (agent.env, agent.world, agent.method, agent.facts) == (ENV, WORLD, "gradient_routing", {"seed": 7})
    rules = {rule.name: rule.scales for rule in find("gradient_routing").deployments}
    assert agent.deployments == {**rules, "whole": None}
    assert list(agent.deployments) == [*rules, "whole"]


def test_an_agent_acts_in_its_world_by_its_methods_first_rule(path, policy):
    agent = agents.load(path)
    rule = find("gradient_routing").deployments[0]
    obs, _ = agent.make_world(16).reset(seed=0)
    with agent.deployed():
        actions = agent.act(obs)
        drawn = agent.act(obs, torch.Generator().manual_seed(0))
    with policy.deployed(rule.scales):
        likeliest = agents.action_probabilities(policy, torch.as_tensor(obs)).argmax(1)
    assert actions.tolist() == likeliest.tolist()
    assert drawn.shape == (16,)


def test_an_unknown_rule_or_another_world_is_refused(path):
    agent = agents.load(path)
    with (
        pytest.raises(ValueError, match="unknown deployment rule 'retian'; did you mean 'retain'"),
        agent.deployed("retian"),
    ):
        pass
    with pytest.raises(ValueError, match="the agent was trained on"):
        agent.make_world(1, size=3)


def test_loading_leaves_the_global_generator_alone(path):
    before = torch.random.get_rng_state()
    agents.load(path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_equal_agents_are_equal_files(policy, tmp_path):
    for name in ("a", "b"):
        agents.save(tmp_path / name, policy, ENV, WORLD, "naive")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_that_could_not_be_written_leaves_the_old_one(path, policy, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        agents.save(path, policy, ENV, WORLD, "naive")
    assert path.read_bytes() == before


class Malice:
    """Creates a folder when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def rewritten(path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def changed(path, **manifest) -> None:
    """Replace entries of the manifest."""
    content = members(path)
    rewritten(
        path, {**content, "manifest.json": json.dumps({**json.loads(content["manifest.json"]), **manifest}).encode()}
    )


def with_weights(path, weights: bytes) -> None:
    """Replace the weights and their hash."""
    manifest = json.loads(members(path)["manifest.json"])
    del manifest["sha256"]
    archive.write_archive(path, manifest, {"weights.pt": weights})


@pytest.mark.parametrize(
    "save", [pickle.dumps, lambda malice: saved({"value_net.bias": malice}), lambda malice: saved(malice)]
)
def test_a_pickle_with_code_inside_is_refused_and_not_run(save, path, tmp_path):
    mark = tmp_path / "executed"
    with_weights(path, save(Malice(mark)))
    with pytest.raises(BadAgentError, match="not a file of tensors only"):
        agents.load(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malice(mark)))  # unpickling executes it
    assert mark.exists()


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_a_file_of_stable_baselines3_is_refused(tmp_path):
    env = agents.make_vec_env(ENV, 8, **WORLD)
    agents.build(env, "naive", 0, n_steps=8).save(tmp_path / "agent.zip")
    with pytest.raises(BadAgentError, match="its members are '_stable_baselines3_version'"):
        agents.load(tmp_path / "agent.zip")


def extra(path):
    rewritten(path, {**members(path), "data": b""})


def outside(path):
    rewritten(path, {**members(path), "../../outside": b"x"})


def absolute(path):
    rewritten(path, {**members(path), "/etc/keyhole": b"x"})


def lacking(path):
    rewritten(path, {"manifest.json": members(path)["manifest.json"]})


def twice(path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("weights.pt", b"x")


def compressed(path):
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)


def tampered(path):
    content = members(path)
    weights = content["weights.pt"]
    rewritten(path, {**content, "weights.pt": weights[:2000] + bytes([weights[2000] ^ 1]) + weights[2001:]})


def truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def prefixed(path):
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


def barely_truncated(path):
    """The remaining file ends with the zip file of the tensors."""
    path.write_bytes(path.read_bytes()[: -len("PK" * 75)])


def text(path):
    path.write_text("not an agent")


def newer(path):
    changed(path, version=2)


def other_format(path):
    changed(path, format="model")


def no_json(path):
    rewritten(path, {**members(path), "manifest.json": b"[" * 100_000})


def unhashed(path):
    changed(path, sha256=None)


NETWORK = {"activation": "ReLU", "gated": True, "level": "activation", "precision": "fp32"}


def wide(path):
    changed(path, network={**NETWORK, "widths": {"pi": [2**40], "vf": [8]}})


def executable(path):
    changed(path, network={**NETWORK, "widths": {"pi": [8], "vf": [8]}, "activation": "os.system"})


def stretched(path):
    """Tensors of the right shape with memory for one number."""
    weights = torch.load(io.BytesIO(members(path)["weights.pt"]), weights_only=True)
    with_weights(path, saved({name: torch.zeros(1).expand(value.shape) for name, value in weights.items()}))


def other_tensors(path):
    with_weights(path, saved({"weight": torch.zeros(3)}))


def no_tensors(path):
    with_weights(path, saved({"weight": "x"}))


BAD = {
    extra: "its members are 'data'",
    outside: r"its members are '\.\./\.\./outside'",
    absolute: "its members are '/etc/keyhole'",
    lacking: "its members are 'manifest.json', not",
    twice: "its members are",
    compressed: "is compressed or encrypted",
    tampered: "weights.pt is damaged",
    truncated: "not a complete zip file",
    prefixed: "its first member is not at the beginning of the file",
    barely_truncated: "not a complete zip file|its members are 'archive",
    text: "not a complete zip file",
    newer: "format version is 2; this version of keyhole reads 1",
    other_format: "does not have format",
    no_json: "is not valid JSON",
    unhashed: "lists no hashes",
    wide: "not fit the network|not those of a network",
    executable: "describes no policy",
    stretched: "contains values that are not dense tensors",
    other_tensors: "not fit the network|not those of a network",
    no_tensors: "contains values that are not dense tensors",
}


@pytest.mark.parametrize("harm", BAD, ids=lambda harm: harm.__name__)
def test_a_bad_file_is_refused_with_one_line(harm, path):
    harm(path)
    files = sorted(path.parent.rglob("*"))
    with pytest.raises(BadAgentError, match=BAD[harm]) as refusal:
        agents.load(path)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"{path} is not a keyhole agent file: ")
    assert sorted(path.parent.rglob("*")) == files


def test_a_file_larger_than_the_limit_is_not_read(path, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 1000)
    with pytest.raises(BadAgentError, match="larger than"):
        agents.load(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255), cut=st.booleans())
def test_a_file_with_any_damaged_byte_is_refused_or_holds_the_same_agent(path, policy, place, byte, cut):
    whole = path.with_name("whole.zip")
    if not whole.exists():
        whole.write_bytes(path.read_bytes())
    content = bytearray(whole.read_bytes())
    at = int(place * len(content))
    content[at] ^= byte
    path.write_bytes(content[:at] if cut else content)
    try:
        agent = agents.load(path)
    except BadAgentError:
        return
    for name, value in policy.state_dict().items():
        assert torch.equal(value, agent.policy.state_dict()[name])


@pytest.mark.parametrize(
    "space",
    [
        MultiBinary((2, 3)),
        MultiBinary(4),
        Discrete(5),
        Discrete(3, start=-1),
        MultiDiscrete([2, 3]),
        Box(-1.0, 2.0, (3, 2)),
        Box(0, 255, (2, 2), np.uint8),
        Box(np.array([0.0, -np.inf]), np.array([np.inf, 1.0]), dtype=np.float64),
    ],
    ids=str,
)
def test_a_space_survives_conversion_to_plain_data_and_back(space):
    assert spaces.from_data(json.loads(json.dumps(spaces.to_data(space)))) == space
