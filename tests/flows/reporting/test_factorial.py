"""Two-by-two tables of a sweep whose true returns are sums of known effects."""

from pathlib import Path

import pytest

from flows.reporting.aggregate import compare_rows
from flows.reporting.factorial import markdown, two_by_two_tables
from flows.tracking.results import Results, Row

NAN = float("nan")
ARM = "gradient_routing_weighted"
EFFECTS = {  # masks, baseline and interaction
    ARM: 0.3 + 0.2 + 0.1,
    f"{ARM}(masks=none)": 0.2,
    f"{ARM}(baseline=all)": 0.3,
    f"{ARM}(masks=none,baseline=all)": 0.0,
    "naive": 0.7,
    "from another version": 0.1,
}


def row(name: str, seed: int, value: float) -> Row:
    numbers = {"true_return": value, "seen": NAN, "unseen": NAN, "selected_step": 1.0, "proxy_return": NAN}
    return Row(
        row=name, method=name, deployment="retain", leaky=False, oversight=0.1, seed=seed, status="FINISHED",
        without={}, labels_used=0.0, exactness="exact", run_id=f"{name} {seed}", error="", **numbers,
    )  # fmt: skip


def sweep(effects=EFFECTS, seeds: int = 12) -> Results:
    rows = [row(name, seed, value + 0.01 * (seed % 3)) for name, value in effects.items() for seed in range(seeds)]
    return Results("id", "name", "FINISHED", 0.0, Path(), {}, {}, tuple(rows), {}, reference_arm=ARM)


def test_the_effects_of_a_table_are_those_that_made_its_returns():
    (table,) = two_by_two_tables(compare_rows(sweep()))
    assert table.kinds == ("masks", "baseline")
    assert table.parts == (("none", "routed"), ("all", "unjudged"))
    assert (table.arm, table.level.title) == (ARM, "oversight 0.1")
    assert [effect.difference.mean for effect in table.effects] == pytest.approx([0.3, 0.4, 0.2, 0.3, 0.1])
    assert table.cells[1][1].mean == pytest.approx(0.61)
    assert [effect.verdict for effect in table.effects] == ["better"] * 4 + ["positive"]
    assert all(effect.p == 2 / 2**12 for effect in table.effects)
    assert all(effect.adjusted == pytest.approx(5 * effect.p) for effect in table.effects)


def test_only_seeds_that_all_four_cells_have_are_paired():
    rows = [found for found in sweep().rows if (found.row, found.seed) != (ARM, 3)]
    (table,) = two_by_two_tables(compare_rows(Results("id", "n", "F", 0.0, Path(), {}, {}, tuple(rows), {}, ARM)))
    assert {effect.difference.n for effect in table.effects} == {11}
    assert {cell.n for cells in table.cells for cell in cells} == {11}


def test_three_cells_make_no_table_and_three_parts_make_three():
    assert two_by_two_tables(compare_rows(sweep({name: EFFECTS[name] for name in list(EFFECTS)[1:]}))) == []
    third = {f"{ARM}(baseline=none)": 0.1, f"{ARM}(masks=none,baseline=none)": 0.1}
    assert len(two_by_two_tables(compare_rows(sweep(EFFECTS | third)))) == 3


def test_arms_of_different_worlds_are_not_mixed():
    moved = {name + "@size=3" * (name == ARM): value for name, value in EFFECTS.items()}
    assert two_by_two_tables(compare_rows(sweep(moved))) == []


def test_five_seeds_decide_nothing():
    (table,) = two_by_two_tables(compare_rows(sweep(seeds=5)))
    assert {effect.verdict for effect in table.effects} == {"undecided"}


def test_a_table_is_printed_as_markdown():
    text = markdown(two_by_two_tables(compare_rows(sweep()))[0])
    assert "| masks=routed | 0.310 ± 0.005 | 0.610 ± 0.005 |" in text
    assert "| masks: routed - none, at baseline=all | 0.300 ± 0.000 | 0.0024 | better |" in text
