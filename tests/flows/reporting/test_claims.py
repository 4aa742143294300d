"""Claims are decided by Student's interval of one number of each seed."""

from pathlib import Path

import pytest

from agents.studies import Claim, Panel, study
from flows.reporting.claims import decide, study_verdict
from flows.reporting.study_report import StudyReport, render_study, study_summary
from flows.tracking.study_results import StudyResults, StudyRow

T2 = 4.302652729749464  # 97.5 % quantile of Student's t with 2 degrees of freedom


def made(claims, axis=""):
    levels = {axis: (1, 2)} if axis else {}

    def toy(run, **settings):
        return {}

    return study(
        question="Is it <b>so</b>?",
        arms={"a": {}, "b": {}},
        quick=levels,
        full=levels,
        claims=claims,
        panels=(Panel("x", "x"),),
        axis=axis,
    )(toy)


def results(values, level=""):
    """The results of arm a with these read-outs x of seeds 0, 1, ..., and of arm b with 0."""
    rows = [
        StudyRow(arm, level, seed, "FINISHED", {"x": value if arm == "a" else 0.0}, {}, f"{arm}{seed}", "")
        for seed, value in enumerate(values)
        for arm in "ab"
    ]
    return StudyResults("id", "name", "FINISHED", 0.0, Path(), "toy", "quick", {}, tuple(rows), 0, "")


def claim(**bounds):
    return Claim("a exceeds b", lambda seed: seed["a"]["x"] - seed["b"]["x"], **bounds)


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"at_least": 1.9 - T2 * 0.1 / 3**0.5}, "holds"),
        ({"at_least": 2.0 - T2 * 0.1 / 3**0.5 + 1e-6}, "undecided"),
        ({"at_least": 2.0 + T2 * 0.1 / 3**0.5 + 1e-6}, "fails"),
        ({"at_most": 2.0 + T2 * 0.1 / 3**0.5 + 1e-6}, "holds"),
        ({"at_most": 2.0 - T2 * 0.1 / 3**0.5 - 1e-6}, "fails"),
        ({"at_least": 1.0, "at_most": 3.0}, "holds"),
        ({"at_least": 3.0, "at_most": 4.0}, "fails"),
    ],
)
def test_a_claim_holds_if_the_whole_interval_is_within_its_bounds(bounds, verdict):
    (decision,) = decide(made((claim(**bounds),)), results([1.9, 2.0, 2.1]))
    assert decision.interval.half == pytest.approx(T2 * 0.1 / 3**0.5)
    assert decision.verdict == verdict


def test_one_seed_decides_nothing():
    (decision,) = decide(made((claim(at_least=0.0),)), results([5.0]))
    assert (decision.verdict, decision.within) == ("undecided", 1)


def test_a_number_without_spread_is_decided_exactly():
    (decision,) = decide(made((claim(at_most=0.0, at_least=0.0),)), results([0.0, 0.0, 0.0]))
    assert (decision.verdict, decision.bounds) == ("holds", "= 0.000")


def test_a_claim_is_undecided_if_a_seed_has_no_run_or_an_undefined_number():
    undefined, complete = results([1.0, 1.0, float("nan")]), results([1.0, 1.0, 1.0])
    missing = complete._replace(rows=tuple(row for row in complete.rows if (row.arm, row.seed) != ("b", 2)))
    for found, verdict in ((complete, "holds"), (undefined, "undecided"), (missing, "undecided")):
        (decision,) = decide(made((claim(at_least=0.0),)), found)
        assert decision.verdict == verdict
        assert bool(decision.problem) == (verdict == "undecided")
        assert {0: 1.0, 1: 1.0}.items() <= decision.values.items()


def test_a_study_holds_if_all_claims_hold_and_fails_if_one_fails():
    holds, fails, undecided = claim(at_least=0.0), claim(at_least=9.0), claim(at_least=2.0)
    for claims, verdict in [
        ((holds, holds), "holds"),
        ((holds, undecided), "undecided"),
        ((undecided, fails), "fails"),
    ]:
        assert study_verdict(decide(made(claims), results([1.9, 2.0, 2.1]))) == verdict


def test_claims_of_a_study_with_an_axis_read_arm_and_level():
    at_two = Claim("at two", lambda seed: seed["a", 2]["x"], at_least=1.0)
    (decision,) = decide(made((at_two,), axis="depth"), results([1.9, 2.0, 2.1], level="2"))
    assert decision.values == {0: 1.9, 1: 2.0, 2: 2.1}


def test_page_and_summary_state_verdicts_and_escape_text():
    toy, found = made((claim(at_least=0.0),)), results([1.9, 2.0, 2.1])
    report = StudyReport(toy, found, decide(toy, found))
    page = render_study(report, b"")
    assert "Is it &lt;b&gt;so&lt;/b&gt;?" in page
    assert "<strong>holds</strong>" in page
    assert "holds: 2.000 ± 0.248, bound ≥ 0.000, 3 of 3 seeds within" in study_summary(report)
