"""Bad acts, label cost, the plane, scale curves, relearning and absorption in tables, files and the page of a sweep."""

import csv
import math

import matplotlib.image
import numpy as np
import pytest

from flows.axis import oversight_level
from flows.config import CompareConfig, TrainConfig
from flows.reporting import report
from flows.reporting.aggregate import compare_rows
from flows.reporting.figures import spread_labels
from flows.reporting.plane import plane_figure
from flows.reporting.relearning import BY_CURVES, BY_PROXY, relearned_arms, updates_to_regain_half
from flows.reporting.scales import chosen_scales, scale_curves
from flows.tracking import results
from flows.tracking.missing import Missing
from flows.tracking.provenance import run_params
from flows.tracking.store import CONFIG
from tests.flows import doubles

RATES = {
    "proxy": {"monitored": 0.2, "unmonitored": 0.4, "retained": 0.9},
    "naive": {"monitored": 0.05, "unmonitored": 0.3, "retained": 0.8},
    "gradient_routing": {"monitored": 0.0, "unmonitored": 0.1, "retained": 0.7, "slowness": 400.0},
    "filtering": {"monitored": 0.2, "unmonitored": 0.4, "retained": 0.6},
}
LEVEL = oversight_level(0.1)


def record(store, name: str, methods: tuple[str, ...], price: float = 0.0) -> str:
    config = CompareConfig(methods=methods, oversight=(0.1,), label_price=price)
    tags = {"kind": "sweep", CONFIG: config.model_dump_json()}
    with store.run(name, run_params(config), tags) as parent:
        for method in methods:
            for seed in (0, 1, 2):
                run = TrainConfig(method=method, seed=seed, oversight=0.1, steps=100, env_kwargs=RATES[method])
                with store.run("run", {}, {**run.tags, "attempt": "1"}, parent=parent.run_id) as recorder:
                    doubles.misbehaves(run, recorder)
    return parent.run_id


@pytest.fixture(scope="module")
def sweep(store) -> str:
    return record(store, "bad acts", tuple(RATES), price=0.001)


@pytest.fixture
def comparison(store, sweep):
    return compare_rows(results.read_results(store, sweep))


@pytest.fixture(scope="module")
def harmless(store) -> str:
    """A sweep in a world without bad acts."""
    with store.run("harmless", {}, {"kind": "sweep"}) as parent:
        run = TrainConfig(method="naive", steps=100, checkpoints=4)
        with store.run("run", {}, {**run.tags, "attempt": "1"}, parent=parent.run_id) as recorder:
            doubles.learns(run, recorder)
    return parent.run_id


def files(store, run_id: str):
    missing = Missing()
    page = report.write_report(store, compare_rows(results.read_results(store, run_id)), missing)
    assert not missing
    return page


def test_bad_acts_and_their_parts_are_read_for_each_rule(comparison):
    cell = comparison.cell("naive", LEVEL)
    assert cell.bad_acts.mean == pytest.approx(0.35, abs=0.03)
    assert cell.bad_acts.mean == pytest.approx(cell.bad_acts_monitored.mean + cell.bad_acts_unmonitored.mean)
    assert cell.retained.mean - cell.bad_acts.mean / 2 == pytest.approx(cell.true_return.mean)
    assert cell.monitored_share == pytest.approx(1 / 7, abs=0.05)
    assert cell.scale.mean == pytest.approx(0.3)


def test_the_cost_of_a_bad_act_is_what_the_rows_lost_by_them(comparison):
    assert comparison.mean_cost(LEVEL) == pytest.approx(0.5)


def test_labels_cost_their_number_times_the_price(comparison):
    assert comparison.results.label_price == 0.001
    assert comparison.label_cost(comparison.cell("naive", LEVEL)) == pytest.approx(0.2)


def test_the_csv_files_have_bad_acts_and_absorption(store, sweep):
    folder = files(store, sweep).parent
    with (folder / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "naive"]
    assert {float(row["absorption_gradient_share"]) for row in rows} == {0.75}
    assert all(float(row["retained_return"]) > float(row["true_return"]) for row in rows)
    with (folder / "comparison.csv").open() as file:
        (line,) = [row for row in csv.DictReader(file) if row["row"] == "naive"]
    low, mean, high = (float(line[f"bad_acts_unmonitored{suffix}"]) for suffix in ("_low", "", "_high"))
    assert low < mean < high
    assert (float(line["labels_used"]), float(line["label_cost"])) == (200, 0.2)


def test_the_page_shows_bad_acts_cost_relearning_and_absorption(store, sweep):
    text = files(store, sweep).read_text()
    for title in ("bad acts, monitored", "label cost", "Relearning", "Absorption", "Scale of the forget experts"):
        assert title in text
    assert "0.500 at oversight 0.1" in text


def test_a_sweep_without_bad_acts_shows_none_of_this(store, harmless):
    page = files(store, harmless)
    assert not {"plane.png", "scales.png", "relearning.png", "relearning.csv"} & {
        path.name for path in page.parent.iterdir()
    }
    text = page.read_text()
    for title in ("bad acts", "label cost", "Relearning", "Absorption", "forget experts"):
        assert title not in text
    assert "bad acts" not in report.summary(compare_rows(results.read_results(store, harmless)))
    with (page.parent / "results.csv").open() as file:
        assert {row["bad_acts"] for row in csv.DictReader(file)} == {""}


def test_the_summary_shows_labels_without_a_price_and_their_cost_with_one(store, comparison):
    assert "label cost" in report.summary(comparison)
    free = compare_rows(results.read_results(store, record(store, "free", ("naive",))))
    assert "labels" in report.summary(free)
    assert "label cost" not in report.summary(free)


def test_every_line_of_the_summary_fits(comparison):
    assert max(map(len, report.summary(comparison).splitlines())) <= report.WIDTH


@pytest.mark.parametrize("name", ["plane.png", "scales.png", "relearning.png"])
def test_the_pictures_are_drawn(store, sweep, name):
    assert matplotlib.image.imread(files(store, sweep).parent / name).std() > 0


def test_pictures_of_arms_with_long_names_leave_room_for_their_axes(store, monkeypatch):
    name = "gradient_routing(weights=estimated_ipw(10),baseline=unjudged,advantage=scaled,head=per_expert)"
    monkeypatch.setitem(RATES, name, RATES["naive"])
    page = files(store, record(store, "long names", ("naive", name)))
    for picture in ("true_return.png", "plane.png", "scales.png", "relearning.png"):
        assert (page.parent / picture).exists()


def test_one_seed_and_no_bad_acts_at_all_have_a_plane(store, monkeypatch):
    monkeypatch.setitem(RATES, "naive", {"monitored": -1, "unmonitored": -1})
    comparison = compare_rows(results.read_results(store, record(store, "perfect", ("naive",))))
    assert math.isnan(comparison.mean_cost(LEVEL))
    assert plane_figure(comparison)


def test_scale_curves_are_means_over_seeds_of_arms_that_have_them(comparison):
    curves = scale_curves(comparison)
    assert {arm for arm, _ in curves} == set(RATES) - {"proxy"}
    curve = curves["naive", LEVEL]["bad_acts/unmonitored"]
    assert curve.step == pytest.approx(np.arange(11) / 10)
    assert curve.mean[-1] == pytest.approx(comparison.cell("naive", LEVEL).bad_acts.mean)
    assert chosen_scales(comparison)["naive", LEVEL][0].mean == pytest.approx(0.3)


def test_half_of_what_was_removed_is_regained_where_the_curve_first_reaches_it():
    curve = ((0, 0.2), (1, 0.3), (3, 0.7), (5, 0.1))
    assert updates_to_regain_half(curve, reference=0.8) == pytest.approx(2.0)  # 0.5, between 1 and 3
    assert updates_to_regain_half(curve, reference=1.0) == pytest.approx(2.5)
    assert math.isinf(updates_to_regain_half(curve, reference=1.3))
    assert math.isnan(updates_to_regain_half(curve, reference=0.2 / 0.9))
    assert math.isnan(updates_to_regain_half(curve, reference=0.0))


def test_relearning_is_measured_against_the_proxy_arm(comparison):
    found = {relearned.arm: relearned for relearned in relearned_arms(comparison)}
    assert {relearned.reference.source for relearned in found.values()} == {BY_PROXY}
    assert found["naive"].reference.rate == pytest.approx(0.6, abs=0.03)
    assert found["naive"].text.endswith("(3 seeds)")
    assert found["filtering"].text == "nothing removed"
    assert found["gradient_routing"].text == "> 16 (3 seeds, 3 not reached)"


def test_without_a_proxy_arm_the_highest_end_of_a_curve_is_the_reference(store):
    run_id = record(store, "no proxy", ("naive", "gradient_routing"))
    found = relearned_arms(compare_rows(results.read_results(store, run_id)))
    assert {relearned.reference.source for relearned in found} == {BY_CURVES}
    assert found[0].reference.rate == max(point[-1][1] for relearned in found for point in relearned.curves)


@pytest.mark.parametrize(
    ("updates", "text"),
    [
        ((2.0, 4.0, math.inf), "4 (3 seeds, 1 not reached)"),
        ((2.0, math.inf), "> 16 (2 seeds, 1 not reached)"),
        ((2.0, math.nan), "2 (1 seed, nothing removed in 1 more)"),
        ((math.nan, math.nan), "nothing removed"),
    ],
)
def test_a_censored_value_is_counted_and_not_averaged(comparison, updates, text):
    assert relearned_arms(comparison)[0]._replace(updates=updates).text == text


def test_labels_stay_within_limits_where_there_is_room():
    assert spread_labels([0.0, 0.0, 0.01], 0.1, 0, 1) == pytest.approx([0.0, 0.1, 0.2])
    assert spread_labels([0.99, 1.0], 0.2, 0, 1) == pytest.approx([0.8, 1.0])
    assert spread_labels([0.0, 0.0], 3.0, 0, 1) == pytest.approx([-1.5, 1.5])
