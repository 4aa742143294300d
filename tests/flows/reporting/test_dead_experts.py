"""Reports name the runs that ended with an expert whose units are all dead."""

from pathlib import Path

import pytest

from flows.config import Training
from flows.reporting.aggregate import compare_rows
from flows.reporting.dead_experts import dead_experts_note, run_note
from flows.reporting.report import render, run_lines, summary
from flows.tracking.results import Results, Row

ALIVE = {"retain": 0.25, "forget": 0.5, "gate": 1.0}


def run(method: str, level: float, seed: int, dead: dict[str, float], rule: str = "") -> Row:
    numbers = (level, seed, "FINISHED", 0.5 + seed / 100, 0.5, 0.5, 100.0, {}, 0.5, 10.0)
    name = f"{method}/{rule}" if rule else method
    return Row(name, method, rule, False, *numbers, "exact", f"{method} {level} {seed}", "", dead_units=dead)


def results(*rows: Row) -> Results:
    return Results("id", "made up", "FINISHED", 0.0, Path(), {}, {}, rows, {}, "naive")


def test_runs_are_counted_once_by_arm_level_and_expert():
    dead = {"retain": 1.0, "forget": 1.0, "gate": 0.0}
    found = results(
        run("naive", 0.1, 0, ALIVE),
        run("naive", 0.1, 1, {"retain": 1.0}),
        run("routing", 0.3, 0, dead),
        run("routing", 0.3, 0, dead, "retain"),
    )
    note = dead_experts_note(found)
    places = "naive, oversight 0.1: retain (1 of 2 runs); routing, oversight 0.3: retain (1 of 1 run); "
    assert places in note
    assert "activation tanh" in note
    comparison = compare_rows(found)
    assert " ".join(note.split()) in " ".join(summary(comparison).split())
    assert note[1:].split(";")[0] in render(comparison, {})


@pytest.mark.parametrize("dead", [{}, ALIVE, {"retain": 0.99}])
def test_nothing_is_said_of_experts_that_are_alive(dead):
    found = results(run("naive", 0.1, 0, dead))
    assert dead_experts_note(found) == run_note(found.rows) == ""
    assert "an expert acts equally" not in summary(compare_rows(found)).lower()
    assert "expert acts equally" not in render(compare_rows(found), {})


def test_the_shares_are_columns_of_the_csv_file():
    names, lines = run_lines(results(run("naive", 0.1, 0, {}), run("naive", 0.1, 1, ALIVE)).rows)
    assert names[-4:] == ["dead_units_forget", "dead_units_gate", "dead_units_retain", "true_return_stderr"]
    assert lines[1]["dead_units_retain"] == 0.25
    assert "dead_units" not in names


def test_a_default_activation_is_left_out_so_that_keys_of_the_cache_stay_the_same():
    assert set(Training.model_fields) - set(Training().model_dump()) == {"activation", "extractor"}  # unset ones stay
    assert Training(activation="tanh").model_dump()["activation"] == "tanh"
    assert Training(**Training(activation="tanh").model_dump()).activation == "tanh"
    assert Training(**Training().model_dump()).activation == "relu"
