"""The gallery: which steps are drawn, which frames share a colour, and the numbers of the page."""

import io

import gymnasium
import numpy as np
import pytest
from PIL import Image

import envs
from flows.cli import gallery as command
from flows.reporting import gallery


@pytest.fixture(scope="module")
def maze():
    return gymnasium.make_vec("keyhole/TMaze-v0", num_envs=1, length=1)


def test_the_steps_of_an_overseer_observation_that_differ_most_are_drawn_beside_each_other(maze):
    tables = envs.compile_world(maze)
    steps = gallery.choose_steps(tables)
    assert gallery.FEWEST <= len(steps) <= gallery.COLUMNS
    assert {step.label for step in steps} == set(tables.overseer_obs.ravel().tolist())
    something = [step for step in steps if maze.overseer_labels[step.label] == "something"]
    assert [step.true_reward for step in something] == [1, 0]
    assert len({step.observation for step in something}) == 1  # the junction, which the agent cannot tell apart either


def test_frames_of_one_colour_are_those_of_different_items_with_one_observation():
    assert gallery._frames([5, 7, 5, 7, 8], [0, 1, 2, 1, 3], ["blue", "red"]) == [
        *("blue", gallery.FRAME, "blue"),
        *(gallery.FRAME, gallery.FRAME),
    ]


def test_the_command_draws_a_world_and_writes_the_numbers_of_its_certificate(tmp_path, capsys):
    command.write_gallery(["keyhole/TMaze-v0"], ["length=1"], str(tmp_path))
    picture = (tmp_path / "gallery" / "TMaze.png").read_bytes()
    assert len(picture) < 50_000
    image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    assert image.shape[1] > 6 * image.shape[0] / 4
    page = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "keyhole gallery keyhole/TMaze-v0 --set length=1 --out" in page
    assert "`keyhole/TMaze-v0` with `length=1`. The signpost is visible from the first cell only" in page
    assert "| 8 | 3 | 4 | 4 | 1.000 | 1.000 | 0.000 | 1.000 | no | no |" in page


def test_a_world_without_tables_is_named_with_the_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "OURS", "foreign/")
    import tests.flows.foreign  # noqa: F401  (registers)

    command.write_gallery([], [], str(tmp_path))
    assert "keyhole: foreign/Bandit-v0 is not drawn: no certificate of foreign/Bandit-v0" in capsys.readouterr().err
    page = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "## Not drawn\n\n- `foreign/Bandit-v0`: no certificate" in page
