"""Each limit of the overseer gives the numbers that it must give, and refuses wrong ones in one line."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import LIMITS, Change, Steps, View, limit, parse_limits
from routing.oversight.limits import HISTORY, MEMORYLESS, WORLD, UnknownInWorld

NAN = np.nan
LABELS = ("nothing", "something", "diamond", "ghost")
JUDGEMENT = np.array([0, NAN, 1, -1])
HIDDEN = np.array([0, 1, 1, 1])
OUTCOMES = ("nothing", "diamond", "ghost")


def steps(label, outcome, row=None) -> Steps:
    """Steps of a world like the grid of diamond and ghost, whose overseer observes the agent's row."""
    label, outcome = np.array(label), np.array(outcome)
    row = np.zeros(len(label)) if row is None else np.array(row, float)
    terminated = outcome > 0
    return Steps(
        label, JUDGEMENT[label], outcome, terminated, row[:, None], LABELS, JUDGEMENT, HIDDEN, OUTCOMES, ("row",)
    )  # fmt: skip


ALL = steps(
    [0, 1, 1, 2, 3], [0, 1, 2, 1, 2], row=[0, 1, 2, 0, 1]
)  # nothing; unseen diamond, ghost; seen diamond, ghost


def changed(text: str, on: Steps = ALL) -> dict[int, tuple[float, str]]:
    """Row -> probability and new label, of the rows that a limit changes."""
    (bound,) = parse_limits(text)
    probability, label = bound.make(0)(on)
    return {
        row: (float(probability[row]), LABELS[label[row]])
        for row in range(len(on.label))
        if probability[row] > 0 and label[row] != on.label[row]
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recall(0.75)", {3: (0.25, "something"), 4: (0.25, "something")}),
        ("recall(of=ghost,rate=0.5)", {4: (0.5, "something")}),
        ("recall(0,diamond)", {3: (1.0, "something")}),
        ("recall(rate=0.5,feature=row,low=1)", {4: (0.5, "something")}),
        ("recall(rate=0.5,feature=row,high=0)", {3: (0.5, "something")}),
        ("recall(rate=0.5,of=diamond,feature=row,low=1)", {}),
        ("recall(1)", {}),
        ("noise(0.05)", {3: (0.05, "ghost"), 4: (0.05, "diamond")}),
        ("noise(0)", {}),
        ("noise(1,of=ghost)", {4: (1.0, "diamond")}),
        ("noise(0.5,feature=row,high=0)", {3: (0.5, "ghost")}),
        ("noise(1,of=ghost,feature=row,high=0)", {}),
        ("one_sided", {3: (1.0, "something")}),
        ("one_sided(bad)", {3: (1.0, "something")}),
        ("one_sided(keep=good)", {4: (1.0, "something")}),
        ("false_positives(0.2)", {1: (0.2, "ghost"), 2: (0.2, "ghost"), 3: (0.2, "ghost")}),
        ("false_positives(0.2,of=diamond)", {1: (0.2, "ghost"), 3: (0.2, "ghost")}),
        ("false_positives(1,alarm=ghost,of=ghost)", {2: (1.0, "ghost")}),
        ("selected(rates=[1,0.25,0],feature=row)", {4: (0.75, "something")}),
    ],
)
def test_a_limit_without_memory_changes_these_observations_at_this_rate(text, expected):
    assert changed(text) == pytest.approx(expected) if not expected else changed(text) == expected


def test_noise_takes_the_verdict_nearest_to_the_opposite():
    judgement = np.array([NAN, 49.0, -1.0, -31.0, 2.0])
    names = ("step", "goal", "step seen", "short cut", "little")
    label = np.arange(5)
    on = Steps(
        label, judgement, label * 0, label > 9, np.zeros((5, 0)), names, judgement, label * 0, ("end",), ()
    )  # fmt: skip
    probability, new = parse_limits("noise(0.5)")[0].make(0)(on)
    assert new.tolist() == [0, 3, 4, 1, 2]
    assert probability.tolist() == [0, 0.5, 0.5, 0.5, 0.5]


def test_a_world_without_bad_verdicts_has_no_false_positives():
    judgement = np.array([0.0, 1.0])
    on = Steps(
        np.array([0, 1]), judgement, np.array([0, 1]), np.array([False, True]), np.zeros((2, 0)), ("nothing", "goal"),
        judgement, np.array([0, 0]), ("nothing", "goal"), (),
    )  # fmt: skip
    assert not parse_limits("false_positives(1)")[0].make(0)(on)[0].any()
    assert not parse_limits("noise(1)")[0].make(0)(on)[0].any()


def view(verdict, dones) -> View:
    verdict, dones = np.array(verdict, float), np.array(dones, bool)
    return View(np.zeros(verdict.shape, int), np.zeros(verdict.shape), dones, verdict=verdict)


VERDICTS = view([[1, NAN], [0, -1], [NAN, 1], [-1, 1]], [[1, 0], [1, 1], [0, 1], [1, 1]])


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (0, [[NAN, NAN], [NAN, NAN], [NAN, NAN], [NAN, NAN]]),
        (1, [[1, NAN], [NAN, NAN], [NAN, NAN], [NAN, NAN]]),
        (2, [[1, NAN], [0, -1], [NAN, NAN], [NAN, NAN]]),
        (3, [[1, NAN], [0, -1], [NAN, 1], [NAN, NAN]]),
        (99, [[1, NAN], [0, -1], [NAN, 1], [-1, 1]]),
    ],
)
def test_a_budget_is_spent_in_the_order_of_time_and_leaves_no_verdict(verdicts, expected):
    limit = parse_limits(f"budget({verdicts})")[0].make(0)
    assert np.array_equal(limit(VERDICTS).verdict, np.array(expected, float), equal_nan=True)
    assert limit.left == max(verdicts - 5, 0)


def test_a_budget_goes_on_in_the_next_rollout_and_one_of_a_rollout_starts_again():
    for of, later in (("run", 2), ("rollout", 5)):
        (bound,) = parse_limits(f"budget(7,{of})")
        budget = bound.make(0)
        judged = [int(np.nansum(np.abs(budget(VERDICTS).verdict))) for _ in range(3)]
        assert judged == [5, later, 0 if of == "run" else 5]


def test_a_delayed_verdict_arrives_later_in_its_copy_also_in_the_next_rollout():
    limit = parse_limits("delay(3)")[0].make(0)
    first, second = limit(VERDICTS).verdict, limit(VERDICTS).verdict
    whole = np.concatenate([np.full((3, 2), NAN), VERDICTS.verdict, VERDICTS.verdict])
    assert np.array_equal(np.concatenate([first, second]), whole[:8], equal_nan=True)


def test_whether_a_delayed_verdict_comes_from_an_audit_arrives_with_it():
    straight, limit, resumed = (parse_limits("delay(3)")[0].make(0) for _ in range(3))
    audited = np.array([[1, 0], [1, 0], [0, 0], [0, 1]], bool)
    rollout = VERDICTS._replace(audited=audited)
    expected = np.concatenate([np.zeros((3, 2), bool), audited, audited])
    assert np.array_equal(np.concatenate([straight(rollout).audited for _ in range(2)]), expected[:8])
    limit(rollout)
    resumed.restore(limit.snapshot())
    assert np.array_equal(resumed(rollout).audited, expected[4:8])


def test_only_audited_endings_spend_a_budget_where_there_are_audits():
    limit = parse_limits("budget(2)")[0].make(0)
    audited = np.array([[0, 0], [0, 1], [0, 0], [0, 1]], bool)
    verdict = limit(VERDICTS._replace(audited=audited)).verdict
    assert np.array_equal(verdict, VERDICTS.verdict, equal_nan=True)
    assert limit.left == 0
    assert np.isnan(limit(VERDICTS._replace(audited=audited)).verdict).all()


def test_no_delay_changes_nothing():
    assert np.array_equal(parse_limits("delay(0)")[0].make(0)(VERDICTS).verdict, VERDICTS.verdict, equal_nan=True)


def test_delay_refuses_whole_episodes():
    with pytest.raises(ValueError, match="leave out --whole-episodes"):
        parse_limits("delay(1)")[0].make(0)(VERDICTS._replace(whole=True))


@pytest.mark.parametrize("text", ["budget(7)", "delay(3)"])
def test_a_limit_with_a_history_continues_from_its_snapshot(text):
    (bound,) = parse_limits(text)
    straight, first, resumed = bound.make(0), bound.make(0), bound.make(0)
    straight(VERDICTS)
    first(VERDICTS)
    resumed.restore(first.snapshot())
    assert np.array_equal(straight(VERDICTS).verdict, resumed(VERDICTS).verdict, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recal(0.5)", "unknown limit 'recal'; did you mean 'recall'?"),
        ("recall(1.5)", "rate must be a probability between 0 and 1, found 1.5"),
        ("recall(-0.1)", "rate must be a probability"),
        ("recall(chance=0.5)", "unknown parameter of limit recall 'chance'"),
        ("recall(rate=often)", "rate is 'often', which is not of type float"),
        ("noise(2)", "rate must be a probability"),
        ("one_sided(ugly)", "one_sided keeps 'ugly'; use bad or good"),
        ("budget(-1)", "budget has -1 verdicts; give 0 or more"),
        ("budget(0.5)", "verdicts is 0.5, which is not of type int"),
        ("budget(5,week)", "budget is one of 'week'; use run or rollout"),
        ("delay(-1)", "delay has -1 steps"),
        ("delay(100000000000)", "delay has 100000000000 steps; give at most 10000"),
        ("selected", "selected has no feature"),
        ("selected(rates=[],feature=row)", "selected has no rates"),
        ("selected(rates=[2],feature=row)", "rates must be a probability"),
        ("queried(-1)", "queried costs -1"),
        ("queried|queried(2)", "changes the world twice"),
        ("recall(0.5", "lacks a closing ')'"),
        ("recall|", "'recall|' has an empty limit"),
        ("|", "'|' has an empty limit"),
        ("noise(0.1)noise(0.2)", "without its opening bracket"),
        ("noise(0.1)x", "has text after its closing bracket"),
    ],
)
def test_a_wrong_limit_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_limits(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recall(of=gost)", "did you mean 'ghost'?"),
        ("recall(feature=rwo)", "did you mean 'row'?"),
        ("noise(of=gost)", "did you mean 'ghost'?"),
        ("false_positives(alarm=fire)", "unknown overseer observation 'fire'"),
        ("selected(rates=[1],feature=row)", "row is 1; give a rate for each value"),
    ],
)
def test_a_limit_that_names_what_the_world_lacks_is_refused(text, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        changed(text)


def test_a_world_without_features_says_so():
    blind = ALL._replace(features=np.zeros((5, 0)), feature_names=())
    with pytest.raises(UnknownInWorld, match="exposes no features"):
        changed("selected(rates=[1],feature=row)", blind)


def test_limits_apply_from_left_to_right():
    assert [bound.name for bound in parse_limits("noise(0.2) | recall(of=ghost)|budget(3)")] == [
        "noise(0.2)", "recall(of=ghost)", "budget(3)",
    ]  # fmt: skip
    assert parse_limits("") == parse_limits("  ") == ()


@given(st.floats(0, 1), st.sampled_from(["diamond", "ghost", ""]))
def test_a_limit_is_read_back_from_its_name(rate, of):
    text = f"recall({json.dumps(rate)}{',' + of if of else ''})"
    (bound,) = parse_limits(text)
    (again,) = parse_limits(bound.name)
    assert again == bound


def test_every_limit_has_a_summary_a_kind_and_works_with_its_defaults():
    for name, found in LIMITS.items():
        assert found.kind in (MEMORYLESS, HISTORY, WORLD)
        assert 10 < len(found.summary) < 125, name
        assert found.summary.endswith("."), name
        assert name == "selected" or parse_limits(name)[0].part is found


def test_a_registered_name_is_not_registered_again():
    @limit
    def twice(steps: Steps, rate: float = 0.5) -> Change:
        """Never."""
        return Change(np.zeros(len(steps.label)), steps.label)

    try:
        with pytest.raises(ValueError, match="limit 'twice' is already registered by"):
            limit(twice)
    finally:
        LIMITS.pop("twice")
