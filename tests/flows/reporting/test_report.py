"""The page shows what MLflow holds and escapes text from users."""

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from flows.axis import oversight_level
from flows.cli import listing
from flows.config import TrainConfig
from flows.errors import UserError
from flows.reporting import report
from flows.reporting.aggregate import (
    COINCIDENCE,
    compare_rows,
    learning_curves,
    without_coinciding,
)
from flows.reporting.figures import row_styles, spread_labels
from flows.tracking import certificates, results
from flows.tracking.missing import Missing
from tests.flows import doubles

EVIL = "<script>alert('x')</script>"


def test_labels_are_moved_no_further_than_needed():
    assert spread_labels([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert spread_labels([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    placed = np.array(spread_labels([0.3, 0.31, 0.32, 0.9], 0.1))
    assert np.diff(placed) == pytest.approx([0.1, 0.1, 0.49], abs=1e-9)
    assert placed[:3].mean() == pytest.approx(0.31)


def train(store, parent, seed, method="naive", attempt=1, oversight=0.1, trainer=doubles.learns):
    config = TrainConfig(method=method, seed=seed, oversight=oversight, steps=100, checkpoints=4)
    tags = {**config.tags, "attempt": str(attempt)}
    with store.run("run", {}, tags, parent=parent) as record:
        trainer(config, record)
    return record.run_id


def choices(config, record):
    """Record two deployment rules, the second one leaky."""
    record.tags({"deployments": "last,best", "leaky": "best", "exactness": "sampled"})
    record.metrics(100, {"selected/true_return/last": 0.25, "selected/true_return/best": 0.75})
    record.metrics(100, {"eval/true_return": 0.25, "selected/true_return_stderr/best": 0.0625})


KNOWN = {
    "optimal_return": 0.932,
    "enforceable_return": 0.1,
    "enforceable_return_uniform_ties": 0.2,
    "naive_optimum_return": 0.09,
    "enforceable_is_exact": True,
}


def test_references_are_read_from_params_and_the_parts_of_regret_add_up(store, sweep):
    (level, known), *others = results.read_results(store, sweep).references.items()
    assert (level, others) == (oversight_level(0.1), [])
    assert known == certificates.Reference(**KNOWN)
    total = known.unenforceable + known.misspecified
    assert total == pytest.approx(KNOWN["optimal_return"] - KNOWN["naive_optimum_return"])


@pytest.fixture(scope="module")
def sweep(store) -> str:
    with store.run(EVIL, {"env": EVIL, "training": {"width": 64}}, {"kind": "sweep"}) as parent:
        parent.params(certificates.certificate_params(oversight_level(0.1), KNOWN))
        for seed in (0, 1):
            for oversight in (0.1, 0.3):
                train(store, parent.run_id, seed, oversight=oversight)
            train(store, parent.run_id, seed, method="early", trainer=choices)
        with pytest.raises(ValueError, match="alert"):
            train(store, parent.run_id, 2, trainer=fail)
        with pytest.raises(ValueError, match="alert"):
            train(store, parent.run_id, 1, method="early", trainer=fail, attempt=0)
    return parent.run_id


def fail(config, record):
    raise ValueError(EVIL)


@pytest.mark.parametrize("name", ["method", "arm", "oversight", "seed", "attempt", "deployments", "kind"])
@pytest.mark.parametrize("value", [None, "", "high", "inf"])
def test_a_sweep_whose_tags_were_edited_on_mlflows_page_has_a_report(store, name, value):
    with store.run("edited", {}, {"kind": "sweep"}) as parent:
        run_id = train(store, parent.run_id, 0)
        train(store, parent.run_id, 1)
    if value is None:
        store.client.delete_tag(run_id, name)
    else:
        store.client.set_tag(run_id, name, value)
    found = results.read_results(store, parent.run_id)
    assert report.summary(compare_rows(found))
    missing = Missing()
    report.write_report(store, compare_rows(found), missing)
    assert not missing
    assert listing.list_entries(store, parent.run_id, listing.Filters())


def test_every_deployment_rule_is_a_row_and_only_the_last_attempt_counts(store, sweep):
    found = results.read_results(store, sweep)
    names = sorted((row.row, row.oversight, row.seed) for row in found.finished)
    assert names == [
        ("early", 0.1, 0),
        ("early", 0.1, 1),
        ("early/best", 0.1, 0),
        ("early/best", 0.1, 1),
        *[("naive", oversight, seed) for oversight in (0.1, 0.3) for seed in (0, 1)],
    ]
    assert [(row.method, row.seed, row.status) for row in found.unfinished] == [("naive", 2, "FAILED")]


def test_cells_aggregate_seeds_and_keep_the_leaky_mark(store, sweep):
    comparison = compare_rows(results.read_results(store, sweep))
    table = {(cell.row, cell.oversight): cell for cell in comparison.cells}
    assert table["early/best", 0.1].true_return == (0.75, 0.0, 2)
    assert table["early/best", 0.1].leaky
    assert not table["early", 0.1].leaky
    assert table["naive", 0.1].seen.mean == 1.0
    assert table["naive", 0.1].without["gate"].mean == pytest.approx(table["naive", 0.1].true_return.mean / 2)
    assert comparison.rows[0] == "early/best"


def test_learning_curves_aggregate_the_seeds_of_a_method_and_level(store, sweep):
    curve = learning_curves(results.read_results(store, sweep))["naive", oversight_level(0.3)]
    assert list(curve.step) == [25, 50, 75, 100]
    assert curve.mean.shape == curve.half.shape == (4,)


class Reader(HTMLParser):
    """Collects the tags of a page and every address that it would load."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_and_escapes_text_from_users(store, sweep):
    page = report.write_report(store, compare_rows(results.read_results(store, sweep)), Missing()).read_text()
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert EVIL in reader.text
    assert len(reader.loads) == 2
    assert all(address.startswith("data:image/png;base64,") for address in reader.loads)
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_names_failed_runs_settings_and_leaky_rows(store, sweep):
    text = report.write_report(store, compare_rows(results.read_results(store, sweep)), Missing()).read_text()
    assert "1 run without a result" in " ".join(text.split())
    assert "naive, oversight 0.1, seed 2" in text
    assert "training.width" in text
    assert re.search(r"early/<wbr>best<span class=\"leaky hatched\">leaky</span>", text)
    assert "0.932" in text
    assert "estimated from sampled episodes" in text


def test_the_csv_file_has_a_line_for_each_run_and_rule(store, sweep):
    path = report.write_report(store, compare_rows(results.read_results(store, sweep)), Missing()).with_name(
        "results.csv"
    )
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9
    assert {line["status"] for line in lines} == {"FINISHED", "FAILED"}
    assert {line["without_gate"] == "" for line in lines if line["method"] == "naive"} == {False, True}
    best = [line for line in lines if line["row"] == "early/best"]
    assert [float(line["true_return"]) for line in best] == [0.75, 0.75]
    assert list(lines[0])[-1] == "true_return_stderr"
    assert {line["true_return_stderr"] for line in lines} == {"", "0.0625"}


def test_a_sweep_without_results_has_a_report(store):
    with store.run("empty", {}, {"kind": "sweep"}) as parent:
        pass
    page = report.write_report(store, compare_rows(results.read_results(store, parent.run_id)), Missing())
    assert "No run of this sweep has a result" in page.read_text()
    assert report.summary(compare_rows(results.read_results(store, parent.run_id))) == "no run has a result"


def test_the_summary_has_a_line_for_each_row_name_at_each_level(store, sweep):
    lines = report.summary(compare_rows(results.read_results(store, sweep))).splitlines()
    assert lines[0] == "no verdicts: the sweep records no reference arm"
    assert [line.split()[0] for line in lines[3:]] == [
        "oversight",
        "early/best",
        "early",
        "naive",
        "oversight",
        "naive",
    ]
    assert "± s.e." in lines[2]
    assert "0.750 ± 0.000" in lines[4]
    assert lines[4].endswith("0.062")


def test_a_sweep_is_found_by_id_start_of_id_name_or_as_the_newest(store, sweep):
    with store.run("later", {}, {"kind": "sweep"}) as later:
        pass
    assert results.find_sweep(store, None) == later.run_id
    assert (
        results.find_sweep(store, sweep)
        == results.find_sweep(store, sweep[:12])
        == results.find_sweep(store, EVIL)
        == sweep
    )


def test_an_unknown_sweep_is_an_error_that_suggests_the_nearest_name(store, sweep):
    with store.run("nightly", {}, {"kind": "sweep"}):
        pass
    with pytest.raises(UserError, match="unknown sweep 'nightli'; did you mean 'nightly'"):
        results.find_sweep(store, "nightli")


def test_an_ambiguous_start_of_an_id_is_an_error(store):
    for number in range(17):  # more than there are first digits
        with store.run(f"sweep {number}", {}, {"kind": "sweep"}):
            pass
    ids = [run.info.run_id for run in store.client.search_runs([store.experiment], "tags.kind = 'sweep'")]
    digits = [run_id[0] for run_id in ids]
    with pytest.raises(UserError, match="give more of the id"):
        results.find_sweep(store, max(digits, key=digits.count))


ROWS = [
    "naive", "naive@knowledge=blind", "naive@size=5", "naive/true_return", "no_gate", "no_gate/full",
    *(f"method_{number}" for number in range(14)), "method_13/full",
]  # fmt: skip


def test_rows_of_one_method_share_a_colour_and_methods_do_not():
    (first, blind, size, rule, other, *_), _ = row_styles(ROWS)
    assert first == blind == size == rule != other


def test_no_two_rows_share_colour_and_line():
    assert len(set(zip(*row_styles(ROWS), strict=True))) == len(ROWS)


def test_a_rule_is_drawn_unless_it_coincides_with_its_methods_first_rule(store, sweep):
    (plain,) = [
        cell
        for cell in compare_rows(results.read_results(store, sweep)).cells
        if (cell.row, cell.oversight) == ("naive", 0.1)
    ]

    def rule(name, by, oversight=0.1):
        moved = plain.true_return._replace(mean=plain.true_return.mean + by)
        return plain._replace(row=name, level=oversight_level(oversight), true_return=moved)

    far = [rule("naive/far", 0.0), rule("naive/far", 2 * COINCIDENCE, 0.3)]  # apart at one level is apart
    table = [plain, rule("naive", 0.0, 0.3), rule("naive/near", COINCIDENCE / 2), *far, rule("naive@path=a/b", 0.0)]
    assert [cell.row for cell in without_coinciding(table)] == [
        "naive",
        "naive",
        "naive/far",
        "naive/far",
        "naive@path=a/b",
    ]


def test_a_row_name_breaks_after_punctuation_and_stays_escaped():
    assert report.breakable("naive(weights=ipw(10),a=<b>)") == "naive(<wbr>weights=ipw(<wbr>10),<wbr>a=&lt;b&gt;)"
