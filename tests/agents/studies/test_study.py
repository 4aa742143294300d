"""What a study declares is checked when it is made."""

import math
import re
import sys
from collections import defaultdict

import pytest

from agents import studies
from agents.studies import Claim, Panel, study

CLAIM = Claim("the number is at least 0", lambda seed: seed["a"]["number"], at_least=0.0)
WELL = {
    "question": "?",
    "arms": {"a": {"slope": 1.0}, "b": {"slope": 2.0}},
    "quick": {"count": 1, "x": (1, 2)},
    "full": {"count": 9, "x": (1, 2, 3)},
    "claims": (CLAIM,),
    "panels": (Panel("number", "number"),),
    "axis": "x",
}


def line(run, *, slope, count, x):
    return {"number": slope * x + count}


def test_conditions_are_the_levels_of_the_preset_times_the_arms():
    made = study(**WELL)(line)
    assert made.conditions("quick") == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert len(made.conditions("full")) == 6


def test_settings_are_those_of_preset_and_arm_at_one_level():
    assert study(**WELL)(line).settings("full", "b", 3) == {"slope": 2.0, "count": 9, "x": 3}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"arms": {}}, "study line has no arm"),
        ({"claims": ()}, "study line has no claim"),
        ({"arms": {"a": {"slpe": 1.0}}}, "arm a sets 'slpe', which line() does not take"),
        ({"quick": {"count": 1}}, "quick needs the levels of the axis: x=(..., ...)"),
        ({"full": {"count": 1, "x": 3}}, "full needs the levels of the axis"),
        ({"full": {"x": (3,)}}, "full, arm a does not set count"),
        ({"claims": (Claim("no bound", len),)}, "the claim 'no bound' has no bound"),
    ],
)
def test_a_study_that_cannot_run_is_refused(changed, message):
    with pytest.raises(ValueError, match="study line") as error:
        study(**{**WELL, **changed})(line)
    assert message in str(error.value)


def test_a_study_of_another_module_is_found_by_its_name_and_not_listed(tmp_path, monkeypatch):
    (tmp_path / "elsewhere_study.py").write_text(
        "from agents.studies import Claim, study\n"
        "claim = Claim('c', lambda seed: seed['a']['x'], at_most=1)\n"
        "@study(question='?', arms={'a': {}}, quick={}, full={}, claims=(claim,), panels=())\n"
        "def mine(run): return {'x': 1.0}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert studies.find_study("elsewhere_study:mine").name == "mine"
    assert "mine" not in studies.load_studies()
    with pytest.raises(ValueError, match="elsewhere_study has no 'yours'"):
        studies.find_study("elsewhere_study:yours")
    with pytest.raises(ValueError, match="elsewhere_study:claim is no study but Claim"):
        studies.find_study("elsewhere_study:claim")
    with pytest.raises(ValueError, match=r"study .elsewhere_studies:mine.: no module named .elsewhere_studies."):
        studies.find_study("elsewhere_studies:mine")
    sys.modules.pop("elsewhere_study")


@pytest.mark.parametrize("name", studies.load_studies())
def test_a_study_states_its_source_and_its_claims_read_arms_and_levels_of_both_presets(name):
    found = studies.find_study(name)
    assert re.search(r"arXiv|ICML", f"{sys.modules[found.measure.__module__].__doc__} {found.reference}")
    for preset in studies.PRESETS:
        conditions = found.conditions(preset)
        assert len(set(conditions)) == len(conditions)
        of_seed = {pair if found.axis else pair[0]: defaultdict(lambda: 1.0) for pair in conditions}
        assert [claim.text for claim in found.claims if not math.isfinite(claim.value(of_seed))] == []


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="unknown study 'nonsense'"):
        studies.find_study("nonsense")
