"""A loaded agent acts as the saved one, and loading a malicious file executes nothing."""

import json
import math
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import nn

import agents
from agents import BadAgentError, BlockUse
from agents.build import architecture_of
from agents.policies.architecture import HEADS, LEVELS
from agents.saving import archive, spaces
from routing import METHODS, find
from routing.oversight.registry import EARLIER
from tests.agents.saving import forging
from tests.agents.saving.forging import MANIFEST, WEIGHTS, forge, manifest, members, pack

ENV, WORLD = "envs:keyhole/DiamondGhost-v0", {"size": 2, "oversight_prob": 0.3}
ARMS = (*METHODS, *EARLIER, "naive(network=single)", "gradient_routing(network=gated(3),head=per_expert)")
METHODS_BY_KIND = {tuple(architecture_of(find(name)).values()): name for name in ARMS}


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


@pytest.mark.parametrize("method", METHODS_BY_KIND.values())
def test_a_loaded_policy_acts_as_the_saved_one_with_and_without_each_block(method, tmp_path):
    policy = trained(method)
    agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, method)
    agent = agents.load(tmp_path / "agent.zip")
    obs = torch.as_tensor(OBSERVATIONS)
    for without in ([], *([block] for block in policy.blocks)):
        with policy.deployed(without=without), agent.policy.deployed(without=without):
            theirs, ours = (agents.action_probabilities(p, obs) for p in (policy, agent.policy))
        assert torch.equal(theirs, ours)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, agent.policy.state_dict()[name])


def test_a_loaded_agent_has_the_saved_origin(path):
    agent = agents.load(path)
    assert (agent.env, agent.world, agent.method, agent.facts) == (ENV, WORLD, "gradient_routing", {"seed": 7})
    rules = {rule.name: agents.use_of(rule) for rule in find("gradient_routing").deployments}
    assert agent.deployments == {**rules, "whole": agents.BlockUse()}
    assert list(agent.deployments) == [*rules, "whole"]


PROFILES = "gradient_routing(network=gated(4),deploy=measured+without([forget2])+without([forget3,forget])+retain)"


def test_a_loaded_agent_deploys_the_measured_scale_and_each_profile(tmp_path):
    policy = trained(PROFILES)
    agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, PROFILES, {"measured": 0.3})
    agent, obs = agents.load(tmp_path / "agent.zip"), torch.as_tensor(OBSERVATIONS)
    uses = {
        "measured": BlockUse(forget_scale=0.3),
        "without_forget2": BlockUse(without=frozenset(["forget2"])),
        "without_forget_forget3": BlockUse(without=frozenset(["forget", "forget3"])),
        "retain": BlockUse((1.0, 0.0, 0.0, 0.0)),
        "whole": BlockUse(),
    }
    assert agent.deployments == uses
    assert list(agent.deployments) == list(uses)
    for rule, use in uses.items():
        with policy.deployed(*use), agent.deployed(rule):
            assert torch.equal(*(agents.action_probabilities(p, obs) for p in (policy, agent.policy)))
    with agent.deployed("without_forget2", without=["forget"]):
        assert agent.policy.mlp_extractor.use.without == {"forget", "forget2"}


def test_an_agent_is_not_saved_before_the_scale_of_a_rule_is_measured(policy, tmp_path):
    method = "gradient_routing(deploy=retain+measured)"
    with pytest.raises(ValueError, match="rule 'measured' measures its forget_scale; give the one that was measured"):
        agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, method)
    assert not (tmp_path / "agent.zip").exists()


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


def test_loading_unpickles_nothing(path, monkeypatch):
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("unpickled"))
    agents.load(path)


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
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_stable_baselines3_is_refused(tmp_path):
    env = agents.make_vec_env(ENV, 8, **WORLD)
    agents.build(env, "naive", 0, n_steps=8).save(tmp_path / "agent.zip")
    with pytest.raises(BadAgentError, match="its members are '_stable_baselines3_version'"):
        agents.load(tmp_path / "agent.zip")


class Malice:
    """Creates a folder when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    "save", [pickle.dumps, lambda malice: forging.torch_archive({"value_net.bias": malice})], ids=["pickle", "torch"]
)
def test_a_pickle_with_code_inside_is_refused_and_not_run(save, path, tmp_path):
    mark = tmp_path / "executed"
    forging.forge(path, save(Malice(mark)))
    with pytest.raises(BadAgentError, match=r"weights.safetensors does not fit the network"):
        agents.load(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malice(mark)))  # unpickling executes it
    assert mark.exists()


def extra(path):
    pack(path, {**members(path), "data": b""})


def outside(path):
    pack(path, {**members(path), "../../outside": b"x"})


def absolute(path):
    pack(path, {**members(path), "/etc/keyhole": b"x"})


def lacking(path):
    pack(path, {MANIFEST: members(path)[MANIFEST]})


def twice(path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr(WEIGHTS, b"x")


def nested(path):
    """The weights are a whole agent file."""
    forge(path, path.read_bytes())


def compressed(path):
    content = members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)


def tampered(path):
    content = members(path)
    weights = content[WEIGHTS]
    pack(path, {**content, WEIGHTS: weights[:-9] + bytes([weights[-9] ^ 1]) + weights[-8:]})


def truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def barely_truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def prefixed(path):
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())


def followed(path):
    path.write_bytes(path.read_bytes() + b"\n")


def commented(path):
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"PK" * 1000


def many_members(path):
    pack(path, {str(number): b"" for number in range(5_000)})


def zip64(path):
    """The record before the last one names another list of members."""
    content = path.read_bytes()
    path.write_bytes(content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:])


def text(path):
    path.write_text("not an agent")


def empty(path):
    path.write_bytes(b"")


def pipe(path):
    """Opening it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def newer(path):
    forge(path, version=3)


def true_version(path):
    forge(path, version=True)


def other_format(path):
    forge(path, format="model")


def no_object(path):
    pack(path, {**members(path), MANIFEST: b"[]"})


def brackets(path):
    pack(path, {**members(path), MANIFEST: b"[" * 100_000})


def deep(path):
    forge(path, facts={"deep": json.loads("[" * 200 + "]" * 200)})


def other_encoding(path):
    pack(path, {**members(path), MANIFEST: members(path)[MANIFEST].decode().encode("utf-16")})


def unhashed(path):
    forge(path, sha256=None)


def second_hash(path):
    forge(path, sha256={**manifest(path)["sha256"], MANIFEST: "0"})


def repeated_key(path):
    forge(path, text=lambda text: text.replace('"method":', '"method": "naive", "method":'))


def number(new):
    """Write a text as the number of a fact."""

    def change(path):
        forge(path, facts={"seed": 12345}, text=lambda text: text.replace("12345", new))

    return change


def entry(*keys, value):
    """Replace one value in the manifest."""

    def change(path):
        forge(path, **forging.replaced(manifest(path), keys, value))

    return change


def added(name, value, *keys):
    """Add one entry to an object in the manifest."""

    def change(path):
        found = manifest(path)
        for key in keys:
            found = found[key]
        forge(path, **forging.replaced(manifest(path), (*keys,), {**found, name: value}))

    return change


def old_network(*lacking, **changed):
    """A network's entry as it was written for two experts under a shared head."""

    def change(path):
        now = manifest(path)["network"]
        old = {name: now[name] for name in ("widths", "activation", "level", "precision")} | {"gated": True} | changed
        forge(path, network={name: value for name, value in old.items() if name not in lacking})

    return change


def experts(number):
    """Another number of experts, with as many coefficients in the rules."""

    def change(path):
        network = manifest(path)["network"] | {"experts": number}
        forge(path, network=network, deployments=[["retain", [1.0] * number]])

    return change


def box(**changed):
    """An observation space of kind Box."""
    return entry(
        "observation_space", value={"kind": "Box", "shape": [3], "dtype": "float32", "low": 0, "high": 1} | changed
    )


def header(change):
    """Change the header of the weights."""

    def changes(path):
        found, numbers = forging.split_weights(members(path)[WEIGHTS])
        forge(path, forging.join_weights(change(found), numbers))

    return changes


def tensor(**changed):
    """Change the entry of one tensor in the header of the weights."""
    return header(lambda found: {**found, "value_net.bias": found["value_net.bias"] | changed})


def numbers(change):
    """Change the bytes after the header of the weights."""

    def changes(path):
        found, content = forging.split_weights(members(path)[WEIGHTS])
        forge(path, forging.join_weights(found, change(content)))

    return changes


def length(value):
    """Change the length of the header of the weights."""

    def changes(path):
        weights = members(path)[WEIGHTS]
        forge(path, value.to_bytes(8, "little") + weights[8:])

    return changes


def overlapping(path):
    """Two tensors of one size share their numbers, and as many bytes belong to no tensor."""
    found, content = forging.split_weights(members(path)[WEIGHTS])
    names = "mlp_extractor.experts.retain.0.weight", "mlp_extractor.experts.forget.0.weight"
    found[names[0]]["data_offsets"] = found[names[1]]["data_offsets"]
    forge(path, forging.join_weights(found, content))


RULE = ("deployments", 0, 1)
WIDTHS = ("network", "widths", "pi")
BAD = {  # name -> change of a good file, part of the message
    "another member": (extra, "its members are 'data'"),
    "a member outside the folder": (outside, r"its members are '\.\./\.\./outside'"),
    "a member with an absolute path": (absolute, "its members are '/etc/keyhole'"),
    "no weights": (lacking, "its members are 'manifest.json', not"),
    "weights twice": (twice, "its members are"),
    "an archive in the archive": (nested, "its header cannot have"),
    "compressed members": (compressed, "is compressed or encrypted"),
    "a changed number": (tampered, "weights.safetensors is damaged"),
    "half a file": (truncated, "not a complete zip file"),
    "all but the last byte": (barely_truncated, "not a complete zip file"),
    "bytes before the file": (prefixed, "its first member is not at the beginning of the file"),
    "bytes after the file": (followed, "not a complete zip file"),
    "a comment": (commented, "not a complete zip file"),
    "five thousand members": (many_members, "its list of members has another form"),
    "a second list of members": (zip64, "its list of members has another form"),
    "text": (text, "not a complete zip file"),
    "no content": (empty, "not a complete zip file"),
    "a pipe": (pipe, "not a regular file"),
    "a folder": (folder, "not a regular file"),
    "a newer version": (newer, "format version is '3'; this version of keyhole reads 2"),
    "a version of another type": (true_version, "format version is 'True'"),
    "another format": (other_format, "does not have format"),
    "a manifest that is a list": (no_object, "does not have format"),
    "a hundred thousand brackets": (brackets, "nested deeper than"),
    "deep nesting": (deep, "nested deeper than"),
    "another encoding": (other_encoding, "is not valid JSON"),
    "no hash": (unhashed, "lists no hashes"),
    "an additional hash": (second_hash, "is damaged"),
    "a key twice": (repeated_key, "the key 'method' occurs twice"),
    "nan": (number("NaN"), "NaN is not a JSON number"),
    "infinity": (number("-Infinity"), "-Infinity is not a JSON number"),
    "a number that overflows": (number("1e999"), "the number inf is not finite"),
    "an integer of a thousand digits": (number("9" * 1000), "integer of 3322 bits is too large"),
    "an integer of five thousand digits": (number("9" * 5000), "is not valid JSON"),
    "half a character": (number(r'"\ud800"'), "is not valid Unicode"),
    "a string of a megabyte": (entry("facts", value={"text": "x" * 2**20}), "string of 1048576 characters"),
    "a manifest of five megabytes": (entry("facts", value={"list": ["x" * 9000] * 600}), "larger than 4 MiB"),
    "an unknown entry": (added("code", "import os"), "the manifest has an unknown entry 'code'"),
    "a control character in a name": (added("\x1b[2J\n", 1), r"unknown entry '\\x1b\[2J\\n'"),
    "an unknown entry of the network": (added("shape", 1, "network"), "network has an unknown entry 'shape'"),
    "no network": (entry("network", value={}), "network lacks 'widths'"),
    "a network that is a list": (entry("network", value=[]), "network is a list, not a dict"),
    "an id that is a number": (entry("env", value=3), "env is a int, not a str"),
    "an empty id": (entry("env", value=""), "env '' is not a name"),
    "an id that controls the terminal": (entry("env", value="a\x1b[31m/B-v0"), "is not a name"),
    "an id of a thousand characters": (entry("env", value="x" * 1000), "is not a name"),
    "a method that is a list": (entry("method", value=["naive"]), "method is a list"),
    "facts that are a list": (entry("facts", value=[1]), "facts is a list"),
    "a world that is a string": (entry("world", value="size"), "world is a str"),
    "a scale of 1e308": (entry(*RULE, value=[1e308, 0.0]), r"coefficient of rule 'retain' is 1e\+308, not in"),
    "a scale that is nan in words": (entry(*RULE, value=["nan", 0.0]), "coefficient of rule 'retain' is a str"),
    "scales that are booleans": (entry(*RULE, value=[True, False]), "coefficient of rule 'retain' is a bool"),
    "three scales": (entry(*RULE, value=[1.0, 0.0, 0.0]), "rule 'retain' has 3 coefficients"),
    "no scales": (entry(*RULE, value=[]), "rule 'retain' has 0 coefficients"),
    "scales that are a string": (entry(*RULE, value="10"), "rule 'retain' is a str"),
    "scales that are false": (entry(*RULE, value=False), "rule 'retain' is a bool"),
    "a scale beyond every float": (entry(*RULE, value=[10**400, 0]), "integer of 1329 bits"),
    "a factor of 2": (entry(*RULE, value={"forget_scale": 2}), "forget_scale of rule 'retain' is 2, not in 0 .. 1"),
    "a factor in words": (entry(*RULE, value={"forget_scale": "1"}), "forget_scale of rule 'retain' is a str"),
    "a rule of nothing": (entry(*RULE, value={}), "the value of rule 'retain' lacks 'forget_scale'"),
    "an unknown use": (entry(*RULE, value={"forget_scale": 1, "x": 1}), "value of rule 'retain' has an unknown entry"),
    "an ablated block of another policy": (entry(*RULE, value={"without": ["forget2"]}), "unknown block 'forget2'"),
    "ablated blocks that are a string": (entry(*RULE, value={"without": "forget"}), "is a str, not a list"),
    "an ablated block that is a number": (entry(*RULE, value={"without": [1]}), "a block of rule 'retain' is a int"),
    "no rules": (entry("deployments", value=[]), "deployments has 0 rules"),
    "a thousand rules": (entry("deployments", value=[[str(i), None] for i in range(999)]), "deployments has 999 rules"),
    "a rule twice": (entry("deployments", value=[["whole", None]] * 2), "the rule 'whole' twice"),
    "a rule without a name": (entry("deployments", value=[[None, None]]), "a rule in deployments is a NoneType"),
    "a probability of 2": (entry("world", value={"oversight_prob": 2}), "oversight_prob in world is 2, not in 0 .. 1"),
    "a probability in words": (entry("world", value={"oversight_prob": "0.5"}), "oversight_prob in world is a str"),
    **{
        f"the argument {name} of make_vec": (entry("world", value={name: 1}), f"argument '{name}', which gymnasium")
        for name in ("id", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers")
    },
    "a width of a billion": (entry(*WIDTHS, value=[10**9]), "a width of pi is 1000000000, not in"),
    "a width of 0": (entry(*WIDTHS, value=[0]), "a width of pi is 0, not in"),
    "a width in words": (entry(*WIDTHS, value=["8"]), "a width of pi is a str"),
    "a width that is true": (entry(*WIDTHS, value=[True]), "a width of pi is a bool"),
    "a hundred thousand layers": (entry(*WIDTHS, value=[1] * 100_000), "pi has 100000 layers"),
    "no layers": (entry(*WIDTHS, value=[]), "pi has 0 layers"),
    "a network of 16 GiB": (entry(*WIDTHS, value=[2**15] * 2), "the network has .* bytes; the limit of"),
    "an activation that is a function": (entry("network", "activation", value="os.system"), "unknown activation"),
    "a gate that is a number": (old_network(gated=1), "gated is a int, not a bool"),
    "an old network with a new entry": (old_network(head="shared"), "network has an unknown entry 'head'"),
    "a new network with an old entry": (added("gated", True, "network"), "network has an unknown entry 'network'"),
    "an old network without a level": (old_network("level"), "network lacks 'level'"),
    "an old network of an unknown level": (old_network(level="rows"), "unknown level 'rows'"),
    "a new network of an old level": (entry("network", "level", value="adapter"), "unknown level 'adapter'"),
    "an unknown network": (entry("network", "network", value="mixture"), "unknown network 'mixture'"),
    "a network that is a list of names": (entry("network", "network", value=["gated"]), "network is a list, not a str"),
    "an unknown head": (entry("network", "head", value="os.system"), "unknown head 'os.system'"),
    "a head that is nothing": (entry("network", "head", value=None), "head is a NoneType, not a str"),
    "no experts": (entry("network", "experts", value=0), "experts is 0, not in 1 .. 8"),
    "a billion experts": (entry("network", "experts", value=10**9), "experts is 1000000000, not in 1 .. 8"),
    "half an expert": (entry("network", "experts", value=1.5), "experts is a float, not a int"),
    "experts that are true": (entry("network", "experts", value=True), "experts is a bool, not a int"),
    "three experts with two scales": (entry("network", "experts", value=3), "rule 'retain' has 2 coefficients"),
    "one gated expert": (experts(1), "network 'gated' has 1 experts; choose at least 2"),
    "a single network of two experts": (entry("network", "network", value="single"), "'single' has 1 expert, not 2"),
    "three experts with the weights of two": (experts(3), "forget2.0.weight is missing"),
    "adapters of activations": (entry("network", "network", value="adapters"), "choose level 'parameter'"),
    "an unknown level": (entry("network", "level", value="rows"), "unknown level 'rows'"),
    "a level that is a list": (entry("network", "level", value=[]), "level is a list"),
    "adapters with a gate": (old_network(level="adapter"), "adapters add up"),
    "an unknown precision": (entry("network", "precision", value="fp8"), "unknown precision 'fp8'"),
    "an unknown space": (entry("observation_space", value={"kind": "Tuple"}), "unknown kind of a space 'Tuple'"),
    "a Dict in a Dict": (
        entry("observation_space", value={"kind": "Dict", "spaces": [["a", {"kind": "Dict", "spaces": []}]]}),
        "the entry 'a' of a Dict is a Dict itself",
    ),
    "an unknown extractor": (added("extractor", "none", "network"), "unknown extractor 'none'"),
    "a space that is a string": (entry("action_space", value="Discrete"), "action_space is a str"),
    "a space with an unknown entry": (added("seed", 1, "action_space"), "a Discrete has an unknown entry 'seed'"),
    "a billion actions": (entry("action_space", "n", value=10**9), "n of a Discrete is 1000000000, not in"),
    "four million actions": (entry("action_space", "n", value=2**22), "does not fit the network"),
    "an observation of 10**30 entries": (entry("observation_space", "shape", value=[10**6] * 5), "a space of shape"),
    "an observation of a billion axes": (entry("observation_space", "shape", value=[1] * 10**5), "100000 axes"),
    "an observation without entries": (entry("observation_space", "shape", value=[0]), "a size in a shape is 0"),
    "a box of objects": (box(dtype="object"), "unknown dtype 'object'"),
    "a box with a bound that is nan": (box(low="nan"), "low of a Box is neither a number"),
    "a box with two bounds for three entries": (box(low=[0, 0]), "low of a Box is neither a number"),
    "a box with a bound beyond its type": (box(dtype="uint8", high=300), "high of a Box has a number|out of bounds"),
    "an empty MultiDiscrete": (entry("observation_space", value={"kind": "MultiDiscrete", "nvec": []}), "no features"),
    "no header": (header(lambda found: b""), "its header cannot have 0 bytes"),
    "a header that is a list": (header(lambda found: [1]), "its header is not a JSON object"),
    "a header that is not JSON": (header(lambda found: b"{" * 100), "does not fit the network"),
    "a header longer than the file": (length(2**63), "its header cannot have 9223372036854775808 bytes"),
    "a header of a megabyte": (header(lambda found: b"{}" + b" " * 2**20), "its header cannot have"),
    "metadata in the header": (header(lambda found: found | {"__metadata__": {}}), "no tensor '__metadata__'"),
    "a missing tensor": (header(lambda found: {}), "is missing"),
    "an unknown tensor": (header(lambda found: found | {"\x1b": {}}), r"no tensor '\\x1b'"),
    "a tensor that is a number": (header(lambda found: found | {"value_net.bias": 1}), "value_net.bias is None None"),
    "a tensor of another type": (tensor(dtype="F64"), r"value_net.bias is F64 \[1\]; in the network it is F32"),
    "a tensor of another shape": (tensor(shape=[2**40]), r"value_net.bias is F32 \[1099511627776\]"),
    "a shape of booleans": (tensor(shape=[True]), "does not fit the network"),
    "a tensor outside the file": (tensor(data_offsets=[2**62, 2**62 + 4]), "does not fit the network"),
    "a tensor with negative place": (tensor(data_offsets=[-4, 0]), "does not fit the network"),
    "tensors that share numbers": (overlapping, "does not fit the network"),
    "numbers missing": (numbers(lambda content: content[:-4]), "bytes of numbers; the network has"),
    "numbers added": (numbers(lambda content: content + bytes(4)), "bytes of numbers; the network has"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_one_line(case, path):
    harm, message = BAD[case]
    harm(path)
    files = sorted(path.parent.rglob("*"))
    with pytest.raises(BadAgentError, match=message) as refusal:
        agents.load(path)
    assert str(refusal.value).isprintable()
    assert str(refusal.value).startswith(f"{path} is not a keyhole agent file: ")
    assert len(str(refusal.value)) < 1000
    assert sorted(path.parent.rglob("*")) == files


@pytest.mark.parametrize(
    "change",
    [entry("facts", value={"seed": 1e300, "text": "\x1b"}), entry(*RULE, value=[2, -1]), added("size", 9, "world")],
    ids=["facts", "scales", "world"],
)
def test_a_manifest_with_other_valid_values_loads(change, path):
    change(path)
    agents.load(path)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("gated", [True, False])
def test_a_file_of_two_experts_from_before_networks_had_names_loads(gated, level, tmp_path):
    assert_loads_as_before(tmp_path / "agent.zip", {"gated": gated, "level": level}, "gated" if gated else "ungated")


def test_a_file_of_adapters_from_before_networks_had_names_loads(tmp_path):
    assert_loads_as_before(tmp_path / "agent.zip", {"gated": False, "level": "adapter"}, "adapters")


def assert_loads_as_before(path, old, network):
    level = "parameter" if old["level"] == "adapter" else old["level"]
    policy = untrained(network=network, level=level)
    agents.save(path, policy, ENV, WORLD, "gradient_routing")
    old_network(**old)(path)
    assert list(manifest(path)["network"]) == ["widths", "activation", "level", "precision", "gated"]
    loaded = agents.load(path).policy
    assert loaded.architecture == (network, 2, "shared", level)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in policy.state_dict().items())


def untrained(**architecture):
    """A policy for the agents' world, from a seed of its own."""
    env = agents.make_vec_env(ENV, 1, **WORLD)
    torch.manual_seed(3)
    arch = {"pi": [8, 8], "vf": [4]}
    spaces = env.observation_space, env.action_space
    policy = agents.BlockPolicy(*spaces, lambda progress: 0.0, net_arch=arch, activation_fn=nn.ReLU, **architecture)
    for parameter in policy.parameters():
        parameter.data.normal_()
    return policy


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", [("single", 1), ("gated", 3), ("ungated", 3), ("adapters", 3)], ids=str)
def test_every_network_and_head_survives_its_file(network, head, tmp_path):
    level = "parameter" if network[0] == "adapters" else "forward_ablated"
    policy = untrained(network=network[0], experts=network[1], head=head, level=level)
    agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, "naive")
    agent = agents.load(tmp_path / "agent.zip")
    assert agent.policy.architecture == policy.architecture
    for without in ([], *([block] for block in policy.blocks)):
        with policy.deployed(without=without), agent.deployed("whole", without):
            theirs, ours = (
                agents.action_probabilities(p, torch.as_tensor(OBSERVATIONS)) for p in (policy, agent.policy)
            )
        assert torch.equal(theirs, ours)
    trains = {name: parameter.requires_grad for name, parameter in policy.named_parameters()}
    assert trains == {name: parameter.requires_grad for name, parameter in agent.policy.named_parameters()}


def test_a_rule_with_another_number_of_coefficients_than_experts_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="rule 'retain' has 2 coefficients, not one for each of 3 experts"):
        agents.save(tmp_path / "agent.zip", untrained(experts=3), ENV, WORLD, "gradient_routing")
    assert not list(tmp_path.iterdir())


def test_a_file_of_format_1_is_refused_with_the_command_that_converts_it(path):
    forging.write_old(path, path)
    with pytest.raises(BadAgentError, match="is an agent file of format 1") as refusal:
        agents.load(path)
    assert f"`keyhole convert {path}`" in str(refusal.value)


def test_a_path_cannot_control_the_terminal(path):
    path = path.rename(path.with_name("a\x1b[2J\nb.zip"))
    path.write_text("")
    with pytest.raises(BadAgentError, match=r"a\\x1b\[2J\\nb.zip is not a keyhole agent file") as refusal:
        agents.load(path)
    assert str(refusal.value).isprintable()


def test_a_file_larger_than_the_limit_is_not_read(path, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 1000)
    with pytest.raises(BadAgentError, match="larger than"):
        agents.load(path)
    with path.open("r+b") as file:
        file.truncate(10 * 2**40)  # takes no room on the disk
    with pytest.raises(BadAgentError, match="larger than"):
        agents.load(path)


@pytest.mark.parametrize(
    ("world", "facts", "message"),
    [
        ({"size": math.inf}, {}, "the number inf is not finite"),
        ({"num_envs": 2}, {}, "which gymnasium.make_vec takes itself"),
        ({"oversight_prob": 1.5}, {}, "oversight_prob in world is 1.5"),
        ({}, {"curve": [math.nan]}, "the number nan is not finite"),
        ({}, {"text": "x" * 20_000}, "a string of 20000 characters"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(world, facts, message, policy, tmp_path):
    with pytest.raises(ValueError, match=message):
        agents.save(tmp_path / "agent.zip", policy, ENV, world, "naive", **facts)
    assert not list(tmp_path.iterdir())


def test_weights_larger_than_the_limit_are_not_saved(policy, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 1000)
    with pytest.raises(ValueError, match=r"bytes of weights.safetensors cannot be saved; the limit is 1000"):
        agents.save(tmp_path / "agent.zip", policy, ENV, WORLD, "naive")


def test_a_learner_whose_agent_could_not_be_saved_is_not_built(monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 1000)
    with pytest.raises(ValueError, match="the limit of an agent file is 1000"):
        trained()


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
        Box(-np.inf, np.inf, (2, 1)),
        Box(np.array([[0.1, 0.2], [0.3, 0.4]], np.float32), 1.0),
    ],
    ids=str,
)
def test_a_space_survives_conversion_to_plain_data_and_back(space):
    assert spaces.from_data(json.loads(json.dumps(spaces.to_data(space), allow_nan=False))) == space
