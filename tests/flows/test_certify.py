"""`keyhole certify` prints the known values of small worlds and rejects bad input with one line."""

import json

import pytest


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
