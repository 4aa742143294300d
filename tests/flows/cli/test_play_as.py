"""`keyhole play ENV --as agent|overseer`: what the user sees, when, and by which keys."""

import io
import os
import pty
import termios

import numpy as np
import pytest

import agents
from flows.cli import observations
from flows.cli.action_keys import action_keys
from flows.cli.keys import KeyReader, reading_keys
from flows.cli.play_text import side_by_side
from flows.errors import UserError

MAZE = ("keyhole/TMaze-v0", "--set", "length=2", "--oversight", "1")
TRUTH = "What was true:"


@pytest.fixture
def play(keyhole, monkeypatch):
    """Plays with the keys as piped input; returns standard output."""

    def run(keys: str, *words: str) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(keys.encode())))
        code, out, err = keyhole("play", *words)
        assert (code, err) == (0, "")
        return out

    return run


def test_an_agent_sees_observations_and_the_proxy_reward_and_the_truth_only_at_the_end(play):
    seen, _, truth = play("?ddw", *MAZE, "--as", "agent").partition(TRUTH)
    assert seen.count("[0, 0, 1, 0, 0]") == 1  # the corridor
    assert seen.count("no other state looks like this one:") == 1  # the sign
    assert seen.count("2 states look like this one:") == 2  # the goals of a watched episode
    assert "up: proxy reward 1" in seen
    assert "true" not in seen
    assert "overseer observation" not in seen
    assert "true return 0.000 (discounted by 1); outcome: wrong" in truth
    assert "wrong                 -1" in truth


def test_arrows_move_the_agent_as_letters_and_numbers_do(play):
    by_letters = play("ddw", *MAZE, "--as", "agent")
    assert play("\x1b[C\x1b[C\x1b[A", *MAZE, "--as", "agent") == by_letters
    assert play("1\n1\n0\n", *MAZE, "--as", "agent") == by_letters


def test_another_episode_starts_during_and_after_one_and_unknown_keys_do_nothing(play):
    shown = play("dxr ddwr", *MAZE, "--as", "agent")
    assert "'x' has no meaning here; ? lists the keys" in shown
    assert "left after 1 step; the episode had not ended; proxy return so far 0.000" in shown
    assert shown.count("step 1\n") == 3


def test_an_overseer_sees_no_action_and_no_true_reward_before_the_end(play):
    shown = play("ey\nq", *MAZE, "--as", "overseer")
    seen, _, truth = shown.partition(TRUTH)
    assert "step 1: nothing; verdict 0" in seen
    before = seen[seen.index("step 1") :]
    assert not [word for word in ("up", "right:", "down", "left", "reward", "outcome") if word in before]
    assert "proxy reward  true reward  overseer observation  verdict" in truth
    true_return = float(truth.partition("true return ")[2].split()[0])
    right = "right" if true_return > 0 else "wrong"
    assert f"you guessed that it was above 0: {right}" in truth
    assert f"your guesses: {int(true_return > 0)} of 1 right" in truth


def test_the_end_of_the_input_during_an_episode_is_no_error(play):
    assert play("", *MAZE, "--as", "overseer").endswith("wrong: verdict -1\n")
    assert play(" ", *MAZE, "--as", "overseer").endswith("left after 1 step; the episode had not ended\n")


def test_limits_with_a_history_apply_to_the_verdicts(play):
    shown = play("e", *MAZE, "--as", "overseer", "--overseer", "budget(0)")
    assert "step 1: nothing; no verdict" in shown
    assert "What you saw" in shown
    assert "; verdict" not in shown


def test_an_environment_that_is_not_a_world_has_no_pictures_and_can_be_played(play):
    shown = play("1r0", "tests.flows.foreign:foreign/Bandit-v0", "--as", "agent")
    assert "action 1: proxy reward 1" in shown
    assert "look like this one" not in shown
    assert "proxy return 1.000, true return 1.000 (discounted by 1)" in shown


def test_the_overseer_of_a_saved_agent_can_be_played(play, tmp_path):
    env = agents.make_vec_env("envs:keyhole/TMaze-v0", 4, length=2)
    policy = agents.build(env, "gradient_routing", 0, n_steps=8, width=4).policy
    agents.save(tmp_path / "agent.zip", policy, "envs:keyhole/TMaze-v0", {"length": 2}, "gradient_routing", seed=1)
    shown = play("e", "--agent", str(tmp_path / "agent.zip"), "--as", "overseer", "--deploy", "retain")
    assert "deployed   retain" in shown
    assert "You are the overseer of the agent" in shown
    assert TRUTH in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((MAZE[0], "--agent", "a.zip"), "found both 'keyhole/TMaze-v0' and --agent; name one"),
        ((MAZE[0],), "missing option '--as'"),
        (("--agent", "a.zip", "--as", "agent"), "name an environment ENV in place of --agent"),
        ((MAZE[0], "--as", "agent", "--gif", "a.gif"), "--gif has no meaning with --as"),
        ((MAZE[0], "--as", "agent", "--greedy"), "--greedy needs --agent"),
        (("--agent", "a.zip", "--set", "length=2"), "--set needs an environment ENV"),
        ((MAZE[0], "--as", "agent", "--set", "lenth=2"), "did you mean 'length'?"),
        ((MAZE[0], "--as", "agent", "--overseer", "recal"), "did you mean 'recall'?"),
        ((MAZE[0], "--as", "overseer", "--overseer", "recall(of=rong)"), "did you mean 'wrong'?"),
        (("keyhole/TMze-v0", "--as", "agent"), "did you mean 'keyhole/TMaze-v0'?"),
    ],
)
def test_options_that_cannot_be_played_are_refused_with_one_line(words, message, keyhole):
    code, out, err = keyhole("play", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_actions_have_arrows_or_the_first_free_letter_of_their_name_and_their_number():
    moves = ("up", "right", "down", "left")
    assert action_keys(moves, ((-1, 0), (0, 1), (1, 0), (0, -1)), "?rq") == [
        ("up", "w", "0"),
        ("right", "d", "1"),
        ("down", "s", "2"),
        ("left", "a", "3"),
    ]
    assert action_keys((*moves, "ask"), None, "?rq")[4] == ("k", "4")  # a and s are directions
    assert action_keys(("run", "repair"), None, "?rq") == [("u", "0"), ("e", "1")]
    assert action_keys(("action 0", "action 1"), None, "?rq") == [("0",), ("1",)]
    many = action_keys([f"action {i}" for i in range(30)], None, "?rq")
    assert len({key for keys in many for key in keys}) == 30
    with pytest.raises(UserError, match="has 100 actions, more than can be chosen by keys"):
        action_keys([f"action {i}" for i in range(100)], None, "?rq")


def test_keys_are_read_from_bytes_whose_sequences_may_be_cut():
    chunks = iter([b"a\x1b", b"[", b"1;2A\x1bOB\x1bx\xc3", b"\xa9\xff\r", b"\x04z", b""])
    keys = KeyReader(lambda: next(chunks))
    assert [keys() for _ in range(8)] == ["a", "up", "down", "x", "é", "\N{REPLACEMENT CHARACTER}", "\n", ""]


def test_a_terminal_passes_on_single_keys_and_is_restored_after_an_error():
    controller, terminal = pty.openpty()
    with open(terminal, encoding="utf-8") as stream:
        before = termios.tcgetattr(stream)
        os.write(controller, b"d\x1b[A")
        with pytest.raises(KeyboardInterrupt):
            _read_two_keys_and_stop(stream)
        assert termios.tcgetattr(stream) == before
    os.close(controller)


def _read_two_keys_and_stop(stream):
    with reading_keys(stream) as keys:
        assert [keys(), keys()] == ["d", "up"]
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("obs", "lines"),
    [
        (np.array([0, 1, 0], np.int8), ["[0, 1, 0]"]),
        (np.eye(20, dtype=np.int8)[3], ["entries 0 to 19; those that are 1: 3"]),
        (np.array([0.25, -1.0], np.float32), ["[0.25, -1]"]),
        (np.array(7), ["number 7"]),
        (
            np.array([[[0, 1], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 0]]], np.int8),
            ["3 planes; each cell lists those that are 1 in it", "  .  01", "  1  ."],
        ),
        (
            np.array([[[2, 5, 0], [1, 0, 0]], [[1, 0, 0], [8, 1, 0]]], np.uint8),
            ["3 planes; each cell lists their values", "  2,5,0 1,0,0", "  1,0,0 8,1,0"],
        ),
        (np.zeros((84, 84, 3), np.uint8), ["84 x 84 x 3 numbers (uint8) from 0 to 0"]),
        ({"goal": np.array(1), "view": np.array([0.5])}, ["goal: number 1", "view: [0.5]"]),
    ],
    ids=lambda value: "",
)
def test_an_observation_is_described_by_its_kind(obs, lines):
    assert list(observations.describe(obs)) == lines


def test_flags_that_are_set_are_named_by_their_place():
    flags = np.zeros((2, 3, 3), bool)
    flags[1] = True
    assert observations.set_flags(np.ones((2, 3, 3)) * np.eye(3)[0], flags).startswith("plane 1 at row 0, column 0,")
    assert observations.set_flags(np.zeros(3), np.array([False, False, True])) == "none"
    assert observations.set_flags(np.zeros(3), np.zeros(3, bool)) is None


def test_pictures_are_side_by_side_as_far_as_they_fit():
    assert list(side_by_side(["ab\nc", "d", "e"], width=8)) == ["ab   d", "c", "", "e"]
