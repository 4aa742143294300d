"""The report leads with verdicts against the reference arm; few seeds and leaky rows decide nothing."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.axis import oversight_level
from flows.config import CompareConfig, TrainConfig
from flows.reporting import figures, numbers, report
from flows.reporting.aggregate import Comparison, compare_rows, learning_curves
from flows.reporting.statistics import interval, sign_flip_test
from flows.reporting.verdicts import conclusion, contrast_rows, seeds_needed
from flows.sweep import prefect_artifacts
from flows.sweep.plan import stored_config
from flows.tracking import results
from flows.tracking.missing import Missing
from flows.tracking.results import NAN, Results, Row
from flows.tracking.store import CONFIG
from tests.flows import doubles

LONG = "gradient_routing(weights=ipw(10),baseline=none)@knowledge=blind"


def row(name: str, level: float, seed: int, true_return: float, leaky: bool = False) -> Row:
    method, _, rule = name.partition("/")
    run_id = f"{method} {level} {seed}"
    numbers = (level, seed, "FINISHED", true_return, true_return, true_return, 100.0, {}, 0.5, 10.0)
    return Row(name, method, rule, leaky, *numbers, "exact", run_id, "")


def sweep(arms: dict[str, float], seeds: int, levels=(0.1, 0.3), leaky=(), reference="reference") -> Comparison:
    """A comparison of arms with given mean returns, whose seeds share noise."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.1, (len(levels), seeds))
    rows = tuple(
        row(name, level, seed, mean + noise[place, seed] + random.normal(0, 0.01), name in leaky)
        for name, mean in arms.items()
        for place, level in enumerate(levels)
        for seed in range(seeds)
    )
    curves = {found.run_id: ((50, 0.1), (100, found.true_return)) for found in rows}
    return compare_rows(Results("id", "made up", "FINISHED", 0.0, Path(), {}, {}, rows, curves, reference))


ARMS = {"reference": 0.5, "good": 0.6, "bad": 0.4, "equal": 0.5, "good/best": 0.9}


@pytest.fixture(scope="module")
def twelve() -> Comparison:
    return sweep(ARMS, 12, leaky=("good/best",))


def test_verdicts_follow_the_paired_differences(twelve):
    found = {place: contrast.verdict for place, contrast in twelve.contrasts.items()}
    for level in map(oversight_level, (0.1, 0.3)):
        assert found["good", level] == "better"
        assert found["bad", level] == "worse"
        assert found["equal", level] == "undecided"
    assert report.headline(twelve) == "against reference: 2 better, 2 worse, 2 undecided"


def test_rows_that_are_equal_on_every_seed_are_one_test():
    """A rule that deploys the same checkpoint must not make another row harder to decide."""
    random = np.random.default_rng(1)
    returns = {(name, 0.1): dict(enumerate(random.normal(mean, 0.1, 12))) for name, mean in (("r", 0.0), ("a", 0.2))}
    returns["b", 0.1] = dict(enumerate(random.normal(0.1, 0.1, 12)))
    alone = contrast_rows(returns, set(), "r")
    twice = contrast_rows({**returns, ("a/rule", 0.1): returns["a", 0.1]}, set(), "r")
    assert all(twice[place] == alone[place] for place in alone)
    assert twice["a/rule", 0.1] == twice["a", 0.1]._replace(counted=False)
    assert seeds_needed(twice) == seeds_needed(alone)


def test_seeds_are_paired_by_number_and_not_by_place():
    reference, arm = {0: 0.1, 1: 0.5, 3: 0.9}, {3: 1.0, 0: 0.2, 1: NAN, 2: 5.0}
    contrast = contrast_rows({("a", 0.1): arm, ("r", 0.1): reference}, set(), "r")["a", 0.1]
    assert contrast.difference == pytest.approx(interval([0.1, 0.1]))
    assert contrast.improvement.value == 1.0


def test_leaky_rows_have_a_difference_and_are_not_in_the_family(twelve):
    without = sweep({name: mean for name, mean in ARMS.items() if name != "good/best"}, 12)
    for level in map(oversight_level, (0.1, 0.3)):
        leaky = twelve.contrasts["good/best", level]
        assert (leaky.verdict, leaky.needed) == ("not tested", None)
        assert leaky.difference.mean == pytest.approx(0.4, abs=0.02)
        assert math.isnan(leaky.p)
        assert twelve.contrasts["good", level].adjusted == without.contrasts["good", level].adjusted


def test_p_values_are_corrected_over_all_rows_and_levels(twelve):
    family = [contrast for contrast in twelve.contrasts.values() if contrast.tested]
    assert len(family) == 6
    least = min(contrast.p for contrast in family)
    assert least == 2 / 2**12
    assert min(contrast.adjusted for contrast in family) == 6 * least


@pytest.mark.parametrize("seeds", [1, 2, 5, 7])
def test_too_few_seeds_decide_nothing_and_the_first_line_states_it(seeds):
    comparison = sweep(ARMS, seeds, leaky=("good/best",))
    assert {contrast.verdict for contrast in comparison.contrasts.values()} == {"undecided", "not tested"}
    first = report.summary(comparison).splitlines()[0]
    plural = "s" * (seeds > 1)
    least = f"{min(1, 2 / 2**seeds):.3g}"
    needed = 8  # 6 * 2 / 2^8 <= 0.05
    expected = f"{seeds} seed{plural} cannot decide: the least p of {seeds} pair{plural} is {least}; {needed} seeds can"
    assert first == expected
    assert len(first) <= 80
    assert {contrast.needed for contrast in comparison.contrasts.values()} <= {None, *range(8, 1001)}


def test_the_number_of_seeds_in_the_first_line_can_decide():
    assert seeds_needed(sweep(ARMS, 7, leaky=("good/best",)).contrasts) == 8
    eight = sweep(ARMS, 8, leaky=("good/best",))
    assert seeds_needed(eight.contrasts) is None
    assert "better" in {contrast.verdict for contrast in eight.contrasts.values()}


def test_an_undecided_row_needs_more_pairs_than_it_has(twelve):
    for contrast in twelve.contrasts.values():
        if contrast.verdict == "undecided":
            assert contrast.needed is None or contrast.needed > contrast.difference.n
        else:
            assert contrast.needed is None


def test_a_reference_without_a_result_gives_no_verdict_and_the_report_states_it():
    comparison = sweep(ARMS, 12, reference="missing")
    text = report.summary(comparison)
    assert text.splitlines()[0] == "no verdicts: no run of the reference arm missing has a result"
    assert not comparison.contrasts
    assert "0.5" in text
    assert "no run of the reference arm missing has a result" in report.render(comparison, {})


def test_a_reference_alone_or_without_shared_seeds_gives_no_verdict():
    assert report.headline(sweep({"reference": 0.5}, 12)).startswith("no verdicts: nothing that can be tested")
    apart = contrast_rows({("r", 0.1): {0: 0.5}, ("a", 0.1): {1: 0.5}, ("a", 0.3): {0: 0.1}}, set(), "r")
    assert {contrast.verdict for contrast in apart.values()} == {"not tested"}
    assert conclusion(apart, {"a", "r"}, "r").startswith("no verdicts: nothing that can be tested")


def test_no_line_of_the_summary_is_longer_than_80_characters_whatever_the_names(twelve):
    long = sweep({"reference": 0.5, LONG: -1234.5, f"{LONG}/best_checkpoint": 0.4}, 12)
    for comparison in (twelve, long):
        lines = report.summary(comparison).splitlines()
        assert max(len(line) for line in lines if LONG not in line) <= 80
        assert all(line.strip() in {LONG, f"{LONG}/best_checkpoint"} for line in lines if LONG in line)


def test_the_summary_leads_with_verdicts_and_shows_both_means(twelve):
    lines = report.summary(twelve).splitlines()
    good = next(line for line in lines if line.split()[:1] == ["good"])
    contrast = twelve.contrasts["good", oversight_level(0.1)]
    assert good.split()[1:] == [
        "better", *numbers.plusminus(contrast.difference).split(), f"{contrast.adjusted:.4f}", "12", "–"
    ]  # fmt: skip
    cell = twelve.cell("good", oversight_level(0.1))
    assert any(
        numbers.plusminus(cell.true_return) in line and numbers.bracketed(cell.interquartile_mean) in line
        for line in lines
    )
    assert sum("good/best (leaky)" in line for line in lines) == 4


def test_the_description_in_the_mlflow_ui_fits_its_tag_and_starts_with_the_verdicts(twelve):
    assert report.description(twelve) == report.summary(twelve)
    many = sweep({"reference": 0.5, **{f"arm_{number}": 0.5 for number in range(80)}}, 2)
    text = report.description(many)
    assert len(report.summary(many)) > 8000 > len(f"```\n{text}\n```")
    *lines, last = text.splitlines()
    assert report.summary(many).startswith("\n".join(lines) + "\n")
    assert last == "... the rest is in report.html"


def test_the_csv_file_has_a_line_for_each_row_name_and_level(twelve, tmp_path):
    report.write_comparison(twelve, tmp_path / "comparison.csv")
    with (tmp_path / "comparison.csv").open() as file:
        lines = {(line["row"], float(line["oversight"])): line for line in csv.DictReader(file)}
    assert lines.keys() == {(cell.row, cell.oversight) for cell in twelve.cells}
    good, leaky, reference = lines["good", 0.1], lines["good/best", 0.1], lines["reference", 0.1]
    returns = [twelve.cell(name, oversight_level(0.1)).returns for name in ("good", "reference")]
    pairs = [returns[0][seed] - returns[1][seed] for seed in range(12)]
    assert float(good["p"]) == sign_flip_test(pairs)
    assert float(good["difference"]) == pytest.approx(np.mean(pairs))
    assert float(good["difference_low"]) < float(good["difference"]) < float(good["difference_high"])
    assert (good["verdict"], good["pairs"], good["seeds"], good["reference"]) == ("better", "12", "12", "reference")
    assert (leaky["leaky"], leaky["verdict"], leaky["p"], leaky["adjusted_p"]) == ("True", "not tested", "", "")
    assert (reference["verdict"], reference["difference"], reference["seeds_to_decide"]) == ("reference", "", "")
    assert float(reference["interquartile_mean_low"]) < float(reference["interquartile_mean"])


def test_the_table_on_prefects_page_starts_with_the_verdict(twelve):
    rows = {(line["deployed"], line["oversight"]): line for line in prefect_artifacts.results_table(twelve)}
    assert len(rows) == len(twelve.cells)
    assert rows["good", "0.1"]["verdict"] == "better"
    assert rows["good/best (leaky)", "0.1"]["verdict"] == "not tested"
    assert rows["reference", "0.3"] | {"verdict": "reference", "difference": ""} == rows["reference", "0.3"]


def test_leaky_rows_are_hatched_on_the_page(twelve):
    page = report.render(twelve, {})
    assert page.count('<tr class="leaky">') == 2
    assert page.count('<td class="not-tested hatched">') == 2
    assert page.count('<td class="hatched">') == 1
    plain = report.render(sweep(ARMS, 12), {})
    assert 'class="leaky"' not in plain
    assert "hatched" not in plain.partition("<body>")[2]


def test_leaky_rows_are_hatched_in_both_figures(twelve, monkeypatch):
    hatches = []
    original = figures.HATCH
    drawn = sweep({"reference": 0.5, "leaks": 0.6}, 3, leaky=("leaks",)), sweep({"reference": 0.5, "leaks": 0.6}, 3)
    for comparison in drawn:
        pictures = []
        for hatch in (original, ""):
            monkeypatch.setattr(figures, "HATCH", hatch)
            pictures.append(
                [
                    figures.oversight_figure(comparison.cells, {}),
                    figures.curves_figure(learning_curves(comparison.results), {}),
                ]
            )
        hatches.append([with_hatch != without for with_hatch, without in zip(*pictures, strict=True)])
    assert hatches == [[True, True], [False, False]]


def test_a_leaky_row_at_a_single_level_is_drawn():
    comparison = sweep({"reference": 0.5, "leaks": 0.6}, 3, levels=(0.1,), leaky=("leaks",))
    assert figures.oversight_figure(comparison.cells, {}).startswith(b"\x89PNG")


def test_interquartile_means_across_levels_leave_out_rows_that_lack_a_level(twelve):
    assert twelve.across_levels.keys() == {cell.row for cell in twelve.cells}
    cells = tuple(cell for cell in twelve.cells if (cell.row, cell.oversight) != ("bad", 0.3))
    assert "bad" not in twelve._replace(cells=cells).across_levels
    pooled = [value for cell in twelve.cells if cell.row == "good" for value in cell.returns.values()]
    assert twelve.across_levels["good"].value == pytest.approx(np.mean(sorted(pooled)[6:18]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"methods": ["filtering", "naive"], "reference": "naive"}, "naive"),
        ({"methods": ["filtering", "naive"], "reference": ""}, "filtering"),
        ({"methods": ["filtering", "naive"]}, "filtering"),  # of a version without the setting
        ({"methods": []}, ""),
        ({}, ""),
    ],
)
def test_the_reference_is_read_from_the_sweeps_settings(store, settings, expected):
    with store.run("with settings", {}, {"kind": "sweep", CONFIG: json.dumps(settings)}) as parent:
        pass
    assert results.read_results(store, parent.run_id).reference_arm == expected


def test_a_sweep_of_a_version_without_the_setting_can_be_read_and_reported(store):
    settings = CompareConfig(methods=("naive", "filtering"), oversight=(0.1,), seeds=2).model_dump(mode="json")
    del settings["reference"]
    with store.run("old", {}, {"kind": "sweep", CONFIG: json.dumps(settings)}) as parent:
        for method in ("naive", "filtering"):
            for seed in range(2):
                config = TrainConfig(method=method, seed=seed, oversight=0.1, steps=100, checkpoints=2)
                with store.run("run", {}, config.tags, parent=parent.run_id) as record:
                    doubles.learns(config, record)
    assert stored_config(store.client.get_run(parent.run_id)).reference == ""
    missing = Missing()
    page = report.write_report(store, compare_rows(results.read_results(store, parent.run_id)), missing)
    assert not missing
    assert page.with_name("comparison.csv").exists()
    text = "2 seeds cannot decide: the least p of 2 pairs is 0.5; 6 seeds can"
    assert text in page.read_text()
    note = store.client.get_run(parent.run_id).data.tags["mlflow.note.content"]
    assert note.splitlines()[1] == text


def test_a_sweep_with_audits_says_that_they_can_monitor_every_bad_act(twelve):
    def of(audits: float) -> Comparison:
        acts = {"bad_acts": 1.0, "bad_acts_monitored": 1.0, "bad_acts_unmonitored": 0.0, "audits": audits}
        return compare_rows(replace(twelve.results, rows=tuple(r._replace(**acts) for r in twelve.results.rows)))

    for found, audited in ((of(0.1), True), (of(NAN), False), (twelve, False)):
        assert (report.AUDITED_NOTE in " ".join(report.summary(found).split())) is audited
        assert (report.AUDITED_NOTE in report.render(found, {})) is audited


@pytest.mark.parametrize(
    ("exactness", "stderr", "text"),
    [
        ("exact", NAN, "0.500, exact"),
        ("sampled", 0.0123, "0.500 ± 0.012 (standard error of the sampled episodes)"),
        ("sampled", NAN, "0.500"),
    ],
)
def test_a_return_is_written_with_its_standard_error_where_it_is_sampled(exactness, stderr, text):
    found = row("naive", 0.1, 0, 0.5)._replace(exactness=exactness, true_return_stderr=stderr)
    assert numbers.deployed_return(found) == text
