"""The flow meets Prefect's requirements for scheduling."""

import subprocess
import sys

import cloudpickle
import pytest

from flows.compare import compare
from flows.config import CompareConfig
from flows.errors import UserError


def test_the_flow_can_be_pickled_for_another_process():
    program = "import sys, cloudpickle; print(cloudpickle.load(sys.stdin.buffer).name)"
    done = subprocess.run([sys.executable, "-c", program], input=cloudpickle.dumps(compare), capture_output=True)
    assert done.stdout == b"compare\n"


def test_the_form_shows_bounds_and_descriptions():
    sweep = compare.parameters.definitions["CompareConfig"]["properties"]
    assert sweep["seeds"]["minimum"] == 1
    assert sweep["oversight"]["items"] == {"maximum": 1, "minimum": 0, "type": "number"}
    learner = compare.parameters.definitions["Training"]["properties"]
    assert all(field["description"] for name, field in sweep.items() if name != "training")
    assert all(field["description"] for field in learner.values())


def test_an_invalid_sweep_fails_before_anything_is_opened(checkout):
    with pytest.raises(UserError, match="did you mean 'naive'"):
        compare.fn(CompareConfig(methods=("naiv",)))
    assert not (checkout / "mlruns").exists()
