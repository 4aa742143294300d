import importlib
import json

import pytest

from benchmarks.harness import plot
from benchmarks.harness.figures import SUBJECTS, Figure, Subject, as_json, line, subject
from benchmarks.harness.paired import Ratio, Spread

RATIO = Ratio(Spread(4.0, 2.0, 5.0), Spread(3.0, 2.0, 4.0), 1000.0, 7)
DOTS = Subject("dots", "Dots", "times as fast", lambda effort: iter([]))
LINES = DOTS._replace(name="lines", title="Lines", unit="times the cost")


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_says_what_it_measures_and_in_what(name):
    found = subject(name)
    assert found.title
    assert found.unit
    assert "\n\n" in importlib.import_module(f"benchmarks.{name}").__doc__


def test_a_cost_is_the_inverse_of_a_speed_and_keeps_its_order():
    cost = Figure.of_cost("b", RATIO)
    assert cost.value == (0.25, 0.2, 0.5)
    assert cost.absolute == 1.0  # 1000 a CPU-second


def test_a_figure_as_json_keeps_unit_repetitions_and_spread():
    (row,) = json.loads(json.dumps(as_json(DOTS, [Figure.of("a", RATIO, "k steps", 1e3)])))["figures"]
    assert row["unit"] == "times as fast"
    assert row["repetitions"] == 7
    assert row["value"] == {"median": 4.0, "least": 2.0, "most": 5.0}
    assert row["wall"]["median"] == 3.0
    assert row["absolute"] == 1.0


def test_figures_of_one_subject_make_dots_or_lines(tmp_path):
    points = [Figure.of_cost(f"c {x}", RATIO, series="c", x=x) for x in (1, 2, 16)]
    plot.draw([(DOTS, [Figure("a", RATIO.cpu, 7)]), (LINES, points)], tmp_path / "benchmark.png")
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    assert "2 to 5" in line(Figure("a", RATIO.cpu, 7))
