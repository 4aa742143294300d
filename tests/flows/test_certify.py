"""`keyhole certify` prints the known values of small worlds and rejects bad input with one line."""

import json
import logging

import pytest

import flows.certify as flow
from flows.errors import RegretExceededError
from flows.tracking import certificates


def test_json_has_the_known_values_of_hide_errors(keyhole):
    code, out, _ = keyhole("certify", "keyhole/HideErrors-v0", "--set", "p_H=0.5", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["optimal_return"] == pytest.approx(3.5)
    assert found["naive_optimum_return"] == pytest.approx(3.0)
    assert (found["deceptive_inflation"], found["ambiguity_dimension"]) == (True, 2)


def test_page_is_written_beside_the_report(keyhole, tmp_path):
    code, out, _ = keyhole("certify", "keyhole/AliasedCorridor-v0", "--html", str(tmp_path / "page.html"))
    assert code == 0
    assert "optimum" in out
    assert "<html" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["keyhole/DiamondVolt-v0"], "did you mean 'keyhole/DiamondVault-v0'"),
        (["keyhole/AliasedCorridor-v0", "--set", "lenght=3"], "unknown argument of"),
        (["keyhole/HideErrors-v0", "--set", "p=1.5"], "p must be"),
        (["keyhole/HideErrors-v0", "--html", "no/such/folder/page.html"], "no folder"),
    ],
)
def test_certify_rejects_bad_input_with_one_line(keyhole, words, line):
    code, _, err = keyhole("certify", *words)
    assert code == 2
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["HideErrors-v0", "--max-regret", "0"], 0, "unenforceable regret 0 (exact) is within --max-regret 0"),
        (["DiamondVault-v0", "--max-regret", "0.1"], 1, "unenforceable regret 4.234 (exact) exceeds --max-regret 0.1"),
        (["DiamondVault-v0", "--max-regret", "5"], 0, "is within --max-regret 5"),
    ],
)
def test_the_exit_code_states_whether_the_regret_is_within_the_limit(keyhole, words, code, line):
    found, out, err = keyhole("certify", f"keyhole/{words[0]}", *words[1:])
    assert found == code
    assert line in err
    assert err.count("\n") == 1
    assert "true optimum J*" in out


@pytest.mark.parametrize("value", ["-0.1", "nan", "inf", "much"])
def test_a_limit_that_is_no_nonnegative_number_is_bad_input(keyhole, value):
    code, out, err = keyhole("certify", "keyhole/HideErrors-v0", "--max-regret", value)
    assert code == 2
    assert "--max-regret" in err
    assert out == ""


def test_json_has_the_check_and_the_revealed_variables(keyhole):
    code, out, _ = keyhole("certify", "keyhole/DiamondVault-v0", "--json", "--reveal", "--max-regret", "0.1")
    found = json.loads(out)
    assert code == 1
    assert found["max_regret"]["within"] is False
    assert found["max_regret"]["bound"] == "exact"
    assert {row["variable"] for row in found["revealed"]} == {"in", "spoofed"}


def test_a_bound_that_exceeds_the_limit_is_not_shown_to_be_within():
    check = certificates.RegretCheck(limit=0.1, regret=0.2, bound="upper bound")
    assert not check.within
    assert str(check) == "unenforceable regret at most 0.2 (upper bound) cannot be shown to be within --max-regret 0.1"
    assert certificates.RegretCheck(0.1, 0.1 + 1e-12, "exact").within


def test_the_flow_fails_where_the_regret_exceeds_the_limit(monkeypatch):
    monkeypatch.setattr(flow, "create_markdown_artifact", lambda *_, **__: None)
    monkeypatch.setattr(flow, "get_run_logger", lambda: logging.getLogger(__name__))
    world = "keyhole/DiamondVault-v0"
    with pytest.raises(RegretExceededError, match=r"4\.234 \(exact\) exceeds --max-regret 0\.1"):
        flow.certify.fn(f"envs:{world}", max_regret=0.1)
    found = json.loads(flow.certify.fn(f"envs:{world}", max_regret=5, reveal=True))
    assert len(found["revealed"]) == 2
