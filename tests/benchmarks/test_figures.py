import importlib
import json

import pytest

from benchmarks.harness import plot
from benchmarks.harness.figures import SUBJECTS, Figure, Subject, as_json, format_figure, load_subject
from benchmarks.harness.paired import Ratio, Spread

RATIO = Ratio(Spread(4.0, 2.0, 5.0), Spread(3.0, 2.0, 4.0), 1000.0, 7)
DOTS = Subject("dots", "Dots", "times as fast", lambda effort: iter([]))
LINES = DOTS._replace(name="lines", title="Lines", unit="times the cost")


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_states_its_title_and_unit_and_describes_itself(name):
    subject = load_subject(name)
    assert subject.title
    assert subject.unit
    assert "\n\n" in importlib.import_module(f"benchmarks.{name}").__doc__


def test_a_ratio_of_costs_is_the_inverse_of_the_ratio_of_speeds_with_its_range_reversed():
    cost = Figure.of_cost("b", RATIO)
    assert cost.value == (0.25, 0.2, 0.5)
    assert cost.absolute == 1.0  # CPU-ms, at 1000 per CPU-second


def test_a_figure_as_json_contains_unit_repetitions_and_spread():
    (row,) = json.loads(json.dumps(as_json(DOTS, [Figure.of("a", RATIO, "k steps", 1e3)])))["figures"]
    assert row["unit"] == "times as fast"
    assert row["repetitions"] == 7
    assert row["value"] == {"median": 4.0, "least": 2.0, "most": 5.0}
    assert row["wall"]["median"] == 3.0
    assert row["absolute"] == 1.0


def test_figures_without_x_are_drawn_as_dots_and_figures_with_x_as_lines(tmp_path):
    points = [Figure.of_cost(f"c {x}", RATIO, series="c", x=x) for x in (1, 2, 16)]
    plot.draw([(DOTS, [Figure("a", RATIO.cpu, 7)]), (LINES, points)], tmp_path / "benchmark.png")
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    assert "2 to 5" in format_figure(Figure("a", RATIO.cpu, 7))


def test_methods_that_need_another_overseer_are_not_measured():
    from benchmarks.methods import trains

    assert [name for name in ("naive", "reward_model_pu") if trains(name)] == ["naive"]
