"""Documents name tests and files that exist."""

import re
import runpy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from click.testing import CliRunner

import agents
import envs
import routing
from envs import checks
from flows.cli.main import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document):
    names = set(re.findall(r"\btest_\w+\b(?!\.py)", document.read_text(encoding="utf-8")))
    defined = set(re.findall(r"def (test_\w+)", TESTS)) | {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert names <= defined


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_of_the_repository_that_a_document_names_exists(document):
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:agents|benchmarks|docs|envs|flows|routing|tests)/[\w./]+\.\w+)`", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing + [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("option", [(), ("--parts",)], ids=str)
def test_the_methods_page_lists_what_the_command_lists(option):
    found = CliRunner().invoke(cli, ["methods", *option])
    listed = [line.rstrip() for line in found.output.splitlines()]
    shown = [line.rstrip() for line in (ROOT / "docs/methods.md").read_text(encoding="utf-8").splitlines()]
    assert "\n".join(listed) in "\n".join(shown)


@pytest.mark.parametrize("document", ["README.md", "docs/methods.md"])
def test_the_example_of_a_part_works_in_every_method(document):
    """The example is executed as it stands, then used."""
    text = (ROOT / document).read_text(encoding="utf-8")
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "bad_only" in code]
    names = {name: getattr(routing, name) for name in routing.__all__}
    try:
        exec(example, {**names, "routing": routing, "np": np})
        feedback = routing.Feedback(np.array([[1.0, -1.0, np.nan]]), np.ones((1, 3), bool))
        rollout = routing.Rollout(np.ones((1, 3)), np.zeros((3, 1)), np.zeros(1, bool), feedback)
        masks = routing.find("my_routing").make(0)(rollout).masks
        np.testing.assert_array_equal(masks[0], [[1, 1, 1], [0, 1, 1], [1, 1, 1]])
        assert routing.find("gradient_routing_weighted(masks=bad_only)").names != routing.find("my_routing").names
    finally:
        routing.METHODS.pop("my_routing", None)
        routing.PARTS["masks"].pop("bad_only", None)
        routing.find.cache_clear()


def test_the_example_of_a_world_works():
    example = _python_example("docs/worlds.md", "Machine").replace("@envs.register\n", "")
    names: dict = {}
    exec(example, names)
    certificate = envs.certify(names["Machine"]())
    assert certificate.naive_optimum_return < certificate.optimal_return
    checks.findings(names["Machine"](4))


def test_the_example_of_any_gymnasium_environment_works_and_is_exact():
    try:
        exec(_python_example("docs/worlds.md", "lake/LastRow-v0"), {})
        world = gymnasium.make_vec("lake/LastRow-v0", num_envs=4)
        checks.findings(world)
        certificate = envs.certify(world)
        assert certificate.optimal_return == pytest.approx(certificate.naive_optimum_return)
    finally:
        gymnasium.registry.pop("lake/LastRow-v0", None)


@pytest.mark.parametrize(
    ("word", "learner"),
    [("pole/Hidden-v0", "reinforce"), ("cab/Taxi-v0", "reinforce"), ("swing/Pendulum-v0", "ppo"),
     ("pixels/ColourBlind-v0", "reinforce")],
)  # fmt: skip
def test_the_examples_of_other_environments_train_and_are_evaluated(word, learner):
    try:
        exec(_python_example("docs/worlds.md", f'"{word}"'), {})
        env = agents.make_vec_env(word, 4, oversight_prob=0.5)
        model = agents.build(env, "gradient_routing", 0, algorithm=learner, n_steps=4, width=4).learn(16)
        evaluate, exact = agents.make_evaluator(word, 0, episodes=4)
        assert exact == (word == "cab/Taxi-v0")
        assert np.isfinite(evaluate(model.policy).true_return)
        assert np.isnan(evaluate(model.policy).true_return_stderr) == exact
    finally:
        for name in (word, "pixels/Lamps-v0"):
            gymnasium.registry.pop(name, None)


def test_the_example_of_memory_works():
    names: dict = {}
    exec(_python_example("docs/memory.md", "frames(3)"), names)
    assert names["without"] == pytest.approx(0.5)
    assert names["remembering"] == pytest.approx(names["certificate"].remembering_return) == pytest.approx(1.0)


def test_in_the_picture_of_memory_only_an_agent_with_memory_gains_by_cheating():
    """The exact optima of the naive reward: what the trained agents of the picture tend to."""
    try:
        example = runpy.run_path(str(ROOT / "docs/examples/memory.py"))
        believed = {}
        for memory in ("none", "frames(3)"):
            world = agents.make_world(example["ID"], 1, memory=memory)
            tables = envs.compile_world(world)
            naive = envs.certificate.planning.believed_reward(world, tables)
            policy = envs.memoryless.memoryless_optimal(tables, naive).policy
            found = envs.exact.evaluate(tables, policy)
            believed[memory] = [found.true_return_seen, found.true_return_unseen]
        assert believed == {"none": pytest.approx([1, 1]), "frames(3)": pytest.approx([1, -1])}
    finally:
        gymnasium.registry.pop("example/Glimpse-v0", None)


def test_the_table_of_memory_has_the_rows_of_its_command_and_the_best_possible_returns():
    example = runpy.run_path(str(ROOT / "docs/examples/memory_worlds.py"))
    lines = (ROOT / "docs/memory.md").read_text(encoding="utf-8").splitlines()
    for world, env, arguments, memory, _, steps, settings in example["CASES"]:
        limit = example["best"](env, arguments, memory)
        bound = "200 steps" if limit is None else f"{limit:.3f}"
        start = f"| {world} | `{memory}` | {settings.get('activation', 'relu')} | {steps:,} | {bound} | "
        assert [line for line in lines if line.startswith(start)], start


def test_a_row_of_the_table_of_memory_is_trained_and_measured():
    example = runpy.run_path(str(ROOT / "docs/examples/memory_worlds.py"))
    (case,) = [case for case in example["CASES"] if case[:1] + case[3:4] == ("T-maze", "frames(3)")]
    line = example["row"](case, seeds=1)
    assert line.startswith("| T-maze | `frames(3)` | tanh | 40,000 | 1.000 | ")
    assert float(line.split("|")[-2].split()[0]) >= 0.95


def _python_example(document, word):
    """The only block of Python code in a document that has a word."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [code for code in blocks if word in code]
    return example


def test_the_example_of_a_limit_without_memory_is_part_of_the_tables_of_a_world():
    try:
        exec(_python_example("docs/limits.md", "def my_limit"), {})
        world = agents.make_world("keyhole/TMaze-v0", 1, length=1, overseer="my_limit(0.25)")
        tables, names = envs.compile_world(world), world.overseer_labels
        assert tables.noise.tolist() == [0.25, 0.75]
        wrong = (tables.overseer_obs == names.index("wrong")).any(2)  # (S_A, A): it may be observed
        seen = (tables.overseer_obs[wrong] == names.index("wrong")) @ tables.noise
        assert seen.tolist() == [0.75] * 2  # the wrong arm of a watched episode, for each goal
        with pytest.raises(ValueError, match=r"my_limit has rate 2\.0; give a probability"):
            envs.compile_world(agents.make_world("keyhole/TMaze-v0", 1, length=1, overseer="my_limit(2)"))
    finally:
        routing.LIMITS.pop("my_limit", None)


def test_the_example_of_a_limit_with_a_history_works_and_continues_from_its_snapshot():
    try:
        exec(_python_example("docs/limits.md", "tires"), {"routing": routing, "np": np})
        (bound,) = routing.parse_limits("tires(100)")
        view = routing.View(np.zeros((8, 4), int), np.zeros((8, 4)), np.ones((8, 4), bool), verdict=np.ones((8, 4)))
        straight, resumed = bound.make(0), bound.make(1)
        assert np.isnan(straight(view).verdict).sum() == 0
        resumed.restore(straight.snapshot())
        np.testing.assert_array_equal(straight(view).verdict, resumed(view).verdict)
    finally:
        routing.LIMITS.pop("tires", None)


def test_the_page_of_limits_lists_every_limit_with_its_parameters():
    text = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
    ours = [part for part in routing.LIMITS.values() if part.module.startswith("routing.limits.")]
    listed = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", text, re.MULTILINE))
    assert {name: words.split(", ") for name, words in listed.items()} == {p.name: [*p.parameters] for p in ours}
