"""The params of a sweep give back the reference returns of its certificates, in old sweeps too."""

import math

import pytest

from flows.axis import oversight_level
from flows.tracking import certificates

OLD = {
    "optimal_return": 1.0,
    "enforceable_return": 0.1,
    "enforceable_return_uniform_ties": 0.55,
    "naive_optimum_return": 0.55,
    "enforceable_is_exact": True,
}
NEW = {**OLD, "naive_optimum_return_worst_ties": 0.05, "agent_class": "history", "world": "TMaze"}


def read_back(certificate):
    params = certificates.certificate_params(oversight_level(0.1), certificate)
    return certificates.references({name: str(value) for name, value in params.items()})[oversight_level(0.1)]


def test_params_give_back_the_reference():
    found = read_back(NEW)
    assert found == certificates.Reference(**{name: NEW[name] for name in certificates.Reference._fields})
    assert found.agent_class == "history"


def test_regrets_of_a_sweep_use_worst_ties_and_those_of_an_old_sweep_uniform_ties():
    new, old = read_back(NEW), read_back(OLD)
    assert (new.tie_rule, new.enforceable, new.naive_optimum) == ("worst ties", 0.1, 0.05)
    assert (old.tie_rule, old.enforceable, old.naive_optimum) == ("uniform ties", 0.55, 0.55)
    assert math.isnan(old.naive_optimum_return_worst_ties)
    for found in (new, old):
        assert found.unenforceable + found.misspecified == pytest.approx(found.optimal_return - found.naive_optimum)
    assert old.misspecified == 0


def test_a_certificate_of_a_world_has_every_param_of_a_reference():
    certificate = certificates.certificate_of("keyhole/AliasedCorridor-v0", {}).to_dict()
    assert set(certificates.Reference._fields) <= set(certificate)
