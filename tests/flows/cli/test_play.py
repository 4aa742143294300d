"""The best agents of a sweep are registered models that MLflow loads and that `keyhole play` plays."""

import hashlib
import json
import re

import gymnasium
import numpy as np
import pytest
import torch

import agents
import envs  # noqa: F401  (registers)
from agents.policies.policy import BlockPolicy
from agents.saving import convert
from flows.axis import oversight_level
from flows.cli import play
from flows.cli.play import PlayOptions
from flows.config import TrainConfig
from flows.errors import UserError
from flows.reporting.aggregate import compare_rows
from flows.sweep import finalize, prefect_artifacts
from flows.tracking import certificates, model_registry, pyfunc, results
from flows.tracking.missing import Missing
from flows.tracking.store import Store
from tests.agents.saving import forging
from tests.flows import doubles
from tests.flows.user_worlds import write_module

ENV = "envs:keyhole/TMaze-v0"


@pytest.fixture(scope="module")
def sweep(store: Store) -> str:
    """A finished sweep of three methods; the agent.zip of filtering is not an agent."""
    with store.run("play", {"env": ENV}, {"kind": "sweep"}) as parent:
        for method, oversight in (("naive", 0.1), ("naive", 0.9), ("gradient_routing", 0.5), ("filtering", 0.5)):
            config = TrainConfig(env=ENV, method=method, oversight=oversight, steps=100, checkpoints=2)
            with store.run(config.title, {"env": ENV}, config.tags, parent=parent.run_id) as record:
                (doubles.learns if method == "filtering" else doubles.acts)(config, record)
        certificate = certificates.certificate_path(parent.folder, oversight_level(0.5))
        certificate.write_text(json.dumps({"b": 1, "a": [0.5, "é"]}, indent=2))
    finalize.finalize(store, parent.run_id, Missing())
    return parent.run_id


def test_the_best_agent_of_each_method_is_registered_with_its_origin(store, sweep):
    found = results.read_results(store, sweep)
    best = {row.method: row for row in model_registry.best_rows(found)}
    assert best["naive"].oversight == 0.9
    assert store.client.get_run(sweep).data.tags["best"] == f"naive {best['naive'].true_return:.3f} (p=0.9)"
    (naive,) = store.client.search_model_versions("name = 'keyhole-TMaze-v0-naive'")
    assert naive.run_id == best["naive"].run_id
    assert (naive.tags["oversight"], naive.tags["sweep"]) == ("0.9", "play")
    assert float(naive.tags["true_return"]) == pytest.approx(best["naive"].true_return, abs=1e-6)
    assert not store.client.search_model_versions("name = 'keyhole-TMaze-v0-filtering'")  # its file is not an agent


def test_finalising_a_sweep_again_registers_nothing_twice(store, sweep):
    before = len(store.client.search_model_versions("name = 'keyhole-TMaze-v0-naive'"))
    model_registry.register_models(store, results.read_results(store, sweep), Missing())
    assert len(store.client.search_model_versions("name = 'keyhole-TMaze-v0-naive'")) == before


def test_a_sweep_and_its_runs_have_the_hash_of_their_certificate(store, sweep):
    digest = hashlib.sha256('{"a":[0.5,"é"],"b":1}'.encode()).hexdigest()
    assert store.client.get_run(sweep).data.tags["certificate.0.5"] == digest
    tags = {
        row.oversight: store.client.get_run(row.run_id).data.tags for row in results.read_results(store, sweep).rows
    }
    assert tags[0.5]["certificate"] == digest
    assert "certificate" not in tags[0.1]


def test_a_run_in_another_world_than_the_sweeps_lacks_its_certificate(store, sweep):
    row = results.read_results(store, sweep).rows[0]
    assert finalize.in_sweep_world(row)
    assert not finalize.in_sweep_world(row._replace(method="naive@knowledge=blind"))


def test_a_registered_model_loads_as_pyfunc_and_acts_like_its_agent(store, sweep):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    model = mlflow.pyfunc.load_model("models:/keyhole-TMaze-v0-gradient_routing/1")
    agent = agents.load(model_registry.find_model(store, "keyhole-TMaze-v0-gradient_routing"))
    obs = np.random.default_rng(0).integers(0, 2, (32, 5)).astype(np.int8)
    with agent.deployed():
        assert model.predict(obs).tolist() == agent.act(obs).tolist()
    with agent.deployed(without=["retain"]):
        drawn = agent.act(obs, torch.Generator().manual_seed(3))
    options = {"without": "retain", "sample": True, "seed": 3}
    assert model.predict(obs, params=options).tolist() == drawn.tolist()


def test_a_model_holds_no_code_and_no_pickle(store, sweep):
    folder = model_registry.find_model(store, "keyhole-TMaze-v0-naive").parent
    assert sorted(file.name for file in folder.iterdir()) == ["MLmodel", "agent.zip"]


def test_the_table_on_prefects_page_has_a_row_for_each_arm_and_level(store, sweep):
    rows = prefect_artifacts.results_table(compare_rows(results.read_results(store, sweep)))
    assert {tuple(row) for row in rows} == {("oversight", "deployed", *prefect_artifacts.COLUMNS)}
    assert {row["oversight"] for row in rows} == {"0.1", "0.5", "0.9"}
    assert {row["deployed"] for row in rows} == {"naive", "gradient_routing", "filtering"}


@pytest.fixture
def agent(tmp_path):
    """The file of an untrained agent."""
    env = agents.make_vec_env("envs:keyhole/DiamondGhost-v0", 4, size=3, oversight_prob=0.5)
    policy = agents.build(env, "gradient_routing", 0, n_steps=8, width=4).policy
    world = {"size": 3, "oversight_prob": 0.5}
    agents.save(tmp_path / "agent.zip", policy, "envs:keyhole/DiamondGhost-v0", world, "gradient_routing", seed=1)
    return tmp_path / "agent.zip"


def test_an_episode_is_printed_step_by_step_with_the_overseer_observation(agent, capsys):
    play.play_agent(str(agent), PlayOptions(episodes=2, seed=1, oversight=1.0), None)
    shown = capsys.readouterr().out
    assert "deployed   retain" in shown
    assert shown.count("episode ") == 2
    steps = re.findall(
        r"^step \d+: (up|right|down|left); reward (.*), true reward (.*); overseer sees: (.*)$", shown, re.M
    )
    endings = {"diamond": ("1", "1"), "ghost": ("1", "-1"), "nothing": ("0", "0")}
    assert all((reward, true) == endings[seen] for _, reward, true, seen in steps)  # at full oversight it sees all
    assert "mean of 2 episodes" in shown


WORLDS = sorted(name for name in gymnasium.registry if name.startswith("keyhole/"))


@pytest.mark.parametrize("world", WORLDS)
def test_an_agent_plays_in_every_world(world, tmp_path, capsys):
    env = agents.make_vec_env(f"envs:{world}", 4)
    policy = agents.build(env, "naive", 0, n_steps=8, width=4).policy
    agents.save(tmp_path / "agent.zip", policy, f"envs:{world}", {}, "naive")
    play.play_agent(str(tmp_path / "agent.zip"), PlayOptions(), None)
    shown = capsys.readouterr().out
    assert re.search(r"^step 1: .*; reward .*, true reward .*; overseer sees: \w", shown, re.M)
    assert "true return" in shown.splitlines()[-1]


def test_oversight_of_a_world_without_oversight_prob_means_audits(tmp_path, capsys):
    env = agents.make_vec_env("envs:keyhole/DiamondVault-v0", 4)
    policy = agents.build(env, "naive", 0, n_steps=8, width=4).policy
    agents.save(tmp_path / "agent.zip", policy, "envs:keyhole/DiamondVault-v0", {}, "naive")
    play.play_agent(str(tmp_path / "agent.zip"), PlayOptions(oversight=1.0), None)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(lines) == 256
    for line in lines:
        true_reward, audit = re.search(r"true reward (\S+); overseer sees: audit: (\S+)", line).groups()
        assert true_reward == audit


def test_the_same_seed_plays_the_same_episodes(agent):
    loaded, options = agents.load(agent), PlayOptions(episodes=3, seed=4)
    first, second = (
        list(play.episodes(loaded, play.make_agent_world(loaded, options, "ansi"), options)) for _ in range(2)
    )
    assert first == second
    assert len(first) == 3


def test_the_return_of_an_episode_is_discounted():
    step = play.PlayedStep("", 0, 1.0, -1.0, 0, 0, False)
    assert play.returns([step, step, step], 0.5) == (1.75, -1.75)


def test_ablated_blocks_do_not_affect_actions(agent):
    loaded, options = agents.load(agent), PlayOptions(episodes=5, deploy="whole", without=("forget", "gate"))
    before = list(play.episodes(loaded, play.make_agent_world(loaded, options, "ansi"), options))
    for parameter in (p for name in options.without for p in loaded.policy.block_parameters(name)):
        torch.nn.init.normal_(parameter, std=10.0)
    assert list(play.episodes(loaded, play.make_agent_world(loaded, options, "ansi"), options)) == before


NETWORKS = [("single", 1, "activation"), ("gated", 2, "activation"), ("gated", 3, "activation")]
NETWORKS += [("ungated", 3, "activation"), ("adapters", 3, "parameter")]


@pytest.fixture(params=NETWORKS, ids=str)
def untrained(request, tmp_path):
    """The file of an agent of another network, in its world."""
    network, experts, level = request.param
    world = gymnasium.make_vec(ENV)
    spaces = world.single_observation_space, world.single_action_space
    arguments = {"network": network, "experts": experts, "level": level, "net_arch": {"pi": [4], "vf": [4]}}
    policy = BlockPolicy(*spaces, lambda progress: 0.0, **arguments)
    agents.save(tmp_path / "agent.zip", policy, ENV, {}, "naive")
    return tmp_path / "agent.zip"


def test_an_agent_of_any_network_is_played_without_each_of_its_blocks_and_no_other(untrained, capsys):
    blocks = agents.load(untrained).policy.blocks
    for without in ((), *((block,) for block in blocks), blocks):
        play.play_agent(str(untrained), PlayOptions(without=without), None)
        assert "ended with" in capsys.readouterr().out
    for missing in {"retain", "forget", "forget2", "gate"} - set(blocks):
        with pytest.raises(UserError, match=f"unknown block '{missing}'"):
            play.play_agent(str(untrained), PlayOptions(without=(missing,)), None)


def test_a_registered_model_of_any_network_predicts_without_each_of_its_blocks_and_no_other(untrained):
    model = pyfunc._load_pyfunc(str(untrained))
    observations = make_observations()
    for without in ("", *model.agent.policy.blocks, ",".join(model.agent.policy.blocks)):
        actions = model.predict(observations, {"without": without})
        with model.agent.deployed(without=[block for block in without.split(",") if block]):
            assert actions.tolist() == model.agent.act(observations).tolist()
    with pytest.raises(ValueError, match="unknown block 'forget3'"):
        model.predict(observations, {"without": "forget3"})


def make_observations() -> np.ndarray:
    return gymnasium.make_vec(ENV, num_envs=16).reset(seed=0)[0]


def test_an_animation_has_one_frame_for_each_step(agent, tmp_path, capsys):
    play.play_agent(str(agent), PlayOptions(), str(tmp_path / "episode.gif"))
    frames = int(re.search(r"(\d+) frames", capsys.readouterr().out).group(1))
    assert frames == len(
        next(
            play.episodes(
                agents.load(agent), play.make_agent_world(agents.load(agent), PlayOptions(), "ansi"), PlayOptions()
            )
        )
    )
    assert (tmp_path / "episode.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PlayOptions(deploy="retian"), "unknown deployment rule 'retian'; did you mean 'retain'?"),
        (PlayOptions(without=("gat",)), "unknown block 'gat'; did you mean 'gate'?"),
        (PlayOptions(env="keyhole/TMaze-v0"), "leave out --env"),
    ],
)
def test_an_unknown_name_is_rejected(options, message, agent):
    with pytest.raises(UserError, match=re.escape(message)):
        play.play_agent(str(agent), options, None)


def test_a_foreign_agent_imports_no_environment_that_the_user_does_not_name(agent, monkeypatch):
    loaded = agents.load(agent)
    agents.save(agent, loaded.policy, "antigravity:their/World-v0", {}, "naive")
    monkeypatch.setattr(gymnasium, "make_vec", lambda *_, **__: pytest.fail("made a world"))
    with pytest.raises(
        UserError, match="is not keyhole's own; if you trust its code, pass --env antigravity:their/World-v0"
    ):
        play.play_agent(str(agent), PlayOptions(), None)


def test_an_agent_with_nan_weights_is_rejected(agent):
    loaded = agents.load(agent)
    torch.nn.init.constant_(loaded.policy.action_net.bias, torch.nan)
    agents.save(agent, loaded.policy, loaded.env, loaded.world, loaded.method)
    with pytest.raises(UserError, match="its training diverged"):
        play.play_agent(str(agent), PlayOptions(), None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.zip"], "cannot read the agent missing.zip"),
        (["nobody"], "no runs in"),
        (["bad"], "bad is not a keyhole agent file"),
        (["bad", "--oversight", "2"], "--oversight"),
    ],
)
def test_play_rejects_bad_input_with_one_line(words, message, checkout, keyhole):
    (checkout / "bad").write_bytes(b"\x80\x04.")
    code, _, err = keyhole("play", "--agent", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


RULE = ("deployments", 0, 1)
GHOST = "envs:keyhole/DiamondGhost-v0"
BAD = {  # name -> place in the manifest, value there, options, part of the message
    "scale 1e308": (RULE, [1e308, 0.0], [], "a coefficient of rule 'retain' is 1e+308, not in -1e+06 .. 1e+06"),
    "scale nan in words": (RULE, ["nan", 0.0], [], "a coefficient of rule 'retain' is a str, not a number"),
    "three scales": (RULE, [1.0, 0.0, 0.0], [], "rule 'retain' has 3 coefficients"),
    "scales as a string": (RULE, "1,0", [], "the value of rule 'retain' is a str"),
    "scales as booleans": (RULE, [True, False], [], "a coefficient of rule 'retain' is a bool"),
    **{
        f"{name} of make_vec": (("world",), {name: 2}, [], f"argument '{name}', which gymnasium.make_vec takes itself")
        for name in ("id", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers")
    },
    "unknown environment": (("env",), "envs:keyhole/DiamondGhst-v0", [], "did you mean 'keyhole/DiamondGhost-v0'?"),
    "environment without a name": (("env",), "envs:", ["--env", "envs:"], "unknown environment ''"),
    "environment with two modules": (("env",), f"{GHOST}:x", [], "is not keyhole's own"),
    "number as environment": (("env",), 3, [], "env is a int, not a str"),
    "list as environment": (("env",), [GHOST], [], "env is a list"),
    "missing module": (("env",), "no_such:a/B-v0", ["--env", "no_such:a/B-v0"], "no module named 'no_such'"),
    "module with a syntax error": (("env",), "broken:a/B-v0", ["--env", "broken:a/B-v0"], "importing broken failed"),
    "module in a folder above": (("env",), "..x:a/B-v0", ["--env", "..x:a/B-v0"], "importing ..x failed"),
    "environment of another library": (("env",), "CartPole-v1", ["--env", "CartPole-v1"], "of CartPole-v1 'size'"),
    "unknown argument": (("world",), {"sizze": 3}, [], "unknown argument of envs:keyhole/DiamondGhost-v0 'sizze'"),
    "argument of another type": (("world",), {"size": "3"}, [], "size must be a whole number, found '3'"),
    "argument that is an object": (("world",), {"size": {"a": 1}}, [], "size must be a whole number"),
    "argument out of range": (("world",), {"size": -3}, [], "size must be at least 2, found -3"),
    "argument that controls the terminal": (("world",), {"regime": "\x1b[2J\n"}, [], r"unknown regime '\x1b[2J\n'"),
    "world of six gigabytes": (("world",), {"size": 280}, [], "Unable to allocate"),
    "world of an exabyte": (("world",), {"size": 10**6}, [], "environment 'envs:keyhole/DiamondGhost-v0'"),
    "other spaces": (("world",), {"size": 4}, [], "does not match the agent"),
    "a network of 16 GiB": (("network", "widths", "pi"), [2**15] * 2, [], "the network has"),
    "a billion actions": (("action_space", "n"), 10**9, [], "n of a Discrete is 1000000000"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_forged_agent_gives_one_line(case, agent, checkout, keyhole, monkeypatch):
    place, value, options, message = BAD[case]
    (checkout / "broken.py").write_text("def :")
    monkeypatch.syspath_prepend(checkout)
    forging.forge(agent, **forging.replaced(forging.manifest(agent), place, value))
    code, out, err = keyhole("play", "--agent", str(agent), *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert err.rstrip("\n").isprintable()


def test_an_agent_whose_weights_overflow_gives_one_line(agent, keyhole):
    loaded = agents.load(agent)
    for parameter in loaded.policy.parameters():
        torch.nn.init.constant_(parameter, 1e38)
    agents.save(agent, loaded.policy, loaded.env, loaded.world, loaded.method)
    code, _, err = keyhole("play", "--agent", str(agent))
    assert (code, err.count("\n")) == (2, 1)
    assert "the agent cannot act: " in err


def test_an_episode_that_does_not_end_gives_one_line(agent, keyhole, monkeypatch):
    monkeypatch.setattr(play, "MAX_STEPS", 1)
    for seed in range(5):  # one may end in the first step
        code, _, err = keyhole("play", "--agent", str(agent), "--seed", str(seed))
        if code:
            break
    assert (code, err.count("\n")) == (2, 1)
    assert "the episode has not ended after 1 steps" in err


def test_the_description_of_an_agent_is_bounded(agent, capsys):
    forging.forge(agent, facts={"notes": ["\x1b" * 1000] * 100})
    play.play_agent(str(agent), PlayOptions(), None)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == play.LINE
    assert all(map(str.isprintable, lines))


def test_an_agent_of_a_world_without_an_overseer_gives_one_line(tmp_path, keyhole):
    world = gymnasium.make_vec("CartPole-v1")
    spaces = world.single_observation_space, world.single_action_space
    policy = BlockPolicy(*spaces, lambda progress: 0.0, net_arch={"pi": [4], "vf": [4]})
    agents.save(tmp_path / "agent.zip", policy, "CartPole-v1", {}, "naive")
    code, _, err = keyhole("play", "--agent", str(tmp_path / "agent.zip"), "--env", "CartPole-v1")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be played: it lacks overseer_labels, judgement" in err


def test_an_agent_with_other_actions_than_its_world_gives_one_line(tmp_path, keyhole):
    box = gymnasium.spaces.Box(-1, 1, (2,))
    policy = BlockPolicy(box, box, lambda progress: 0.0, net_arch={"pi": [4], "vf": [4]})
    agents.save(tmp_path / "agent.zip", policy, "envs:keyhole/TMaze-v0", {}, "naive")
    code, _, err = keyhole("play", "--agent", str(tmp_path / "agent.zip"))
    assert (code, err.count("\n")) == (2, 1)
    assert "does not match the agent" in err


def test_observations_are_described_in_one_line():
    parts = {"image": np.full((3, 8, 8), 255, np.uint8), "speed": np.array([0.5, -1.0])}
    assert play.described_observation(parts) == "image uint8 of shape (3, 8, 8), mean 255, speed [ 0.5 -1. ]"


def test_a_name_of_any_length_gives_one_line(keyhole):
    code, _, err = keyhole("play", "--agent", "x" * 5000)
    assert (code, err.count("\n")) == (2, 1)


def test_an_old_agent_names_the_command_that_converts_it(agent, keyhole):
    forging.write_old(agent, agent)
    code, _, err = keyhole("play", "--agent", str(agent))
    assert (code, err.count("\n")) == (2, 1)
    assert f"`keyhole convert {agent}`" in err


def test_an_old_registered_model_names_the_command_that_converts_it(store, sweep):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    path = model_registry.find_model(store, "keyhole-TMaze-v0-naive")
    current = path.read_bytes()
    forging.write_old(path, path)
    try:
        with pytest.raises(agents.BadAgentError, match="is an agent file of format 1") as refusal:
            mlflow.pyfunc.load_model("models:/keyhole-TMaze-v0-naive/1")
    finally:
        path.write_bytes(current)
    assert f"`keyhole convert {path}`" in str(refusal.value)


def test_a_converted_agent_plays(agent, keyhole, monkeypatch):
    monkeypatch.setattr("agents.saving.convert._run_child", convert.main)  # without the imports of a child process
    forging.write_old(agent, agent)
    code, out, err = keyhole("convert", str(agent))
    assert (code, err) == (0, "")
    assert out == f"converted {agent}: {agent} has the current format; the old file is {agent}.v1\n"
    code, out, _ = keyhole("play", "--agent", str(agent))
    assert code == 0
    assert "true return" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.zip"], "No such file or directory: 'missing.zip'"),
        (["text"], "text is not a keyhole agent file"),
        (["text", "taken"], "taken exists; remove it or choose another name"),
        (["text", "missing/new.zip"], "No such file or directory"),
        ([], "missing argument 'OLD'"),
    ],
)
def test_convert_rejects_bad_input_with_one_line(words, message, checkout, keyhole, monkeypatch):
    monkeypatch.setattr(
        "agents.saving.convert._run_child", lambda old, *_: agents.saving.archive.read_archive(old)
    )  # the same refusals, without the imports of a child process
    for name in ("text", "taken"):
        (checkout / name).write_text("text")
    code, out, err = keyhole("convert", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message.lower() in err.lower()


@pytest.mark.parametrize(
    ("space", "observation"),
    [
        ("Discrete(length)", "state[:, 0].astype(np.int64)"),
        ("MultiDiscrete([length, 2])", "np.stack([state[:, 0], 0 * state[:, 1]], 1)"),
    ],
)
def test_an_agent_plays_with_discrete_observations(space, observation, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    kind = space.partition("(")[0]
    env = write_module(
        tmp_path,
        f"plays_{kind.lower()}",
        ("Box(0, 1, (length,), np.float32)", space),
        ("import Box", f"import {kind}"),
        ("np.eye(self.length, dtype=np.float32)[state[:, 0]]", observation),
    )
    policy = agents.build(agents.make_vec_env(env, 4), "naive", 0, n_steps=8, width=4).policy
    agents.save(tmp_path / "agent.zip", policy, env, {}, "naive")
    play.play_agent(str(tmp_path / "agent.zip"), PlayOptions(env=env), None)
    assert "true return" in capsys.readouterr().out.splitlines()[-1]
    gymnasium.registry.pop("user/Corridor-v0")
