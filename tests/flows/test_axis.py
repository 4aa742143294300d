"""The axis of a sweep: without one, runs are what they were; with one, an argument changes in place of `oversight`."""

import hashlib
from pathlib import Path

from flows.config import CompareConfig, run_title
from flows.tracking.cache_key import run_key
from flows.tracking.certificates import certificate_path
from flows.tracking.provenance import provenance, run_params, run_tags

PLAIN = CompareConfig(
    methods=("naive", "naive(weights=ipw(10))@knowledge=blind"), oversight=(0.1, 1.0), seeds=2, env_kwargs={"size": 3}
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_runs_without_an_axis_have_the_settings_of_earlier_versions():
    assert sha(PLAIN.model_dump_json()) == "6ccfd09f9a69"
    assert sha("".join(run.model_dump_json() for run in PLAIN.runs())) == "a25be9c5f729"
    assert not {"axis", "level", "overseer"} & run_params(PLAIN.runs()[0]).keys()
    assert set(run_params(PLAIN)) - set(provenance()) == {
        "checkpoints", "controls", "dask_address", "env", "env_kwargs", "learner", "methods", "name", "oversight",
        "ray_address", "reference", "runner", "seeds", "start", "steps", "training", "workers",
    }  # fmt: skip


def test_runs_without_an_axis_have_the_cache_keys_of_earlier_versions():
    assert [run_key(run, "digest")[:12] for run in PLAIN.runs()[:4]] == [
        "7d70853d18c0",
        "393a2ea94a32",
        "5a66ee240e89",
        "ffe43895ca5c",
    ]


def test_runs_without_an_axis_have_the_titles_and_tags_of_earlier_versions():
    assert [run_title(run) for run in PLAIN.runs()[:3]] == [
        "naive p=0.1 seed=0",
        "naive(weights=ipw(10))@knowledge=blind p=0.1 seed=0",
        "naive p=1 seed=0",
    ]
    assert run_tags(PLAIN.runs()[0]) == {
        "kind": "run",
        "env": "envs:keyhole/DiamondGhost-v0",
        "method": "naive",
        "arm": "naive",
        "oversight": "0.1",
        "seed": "0",
    }


def test_certificates_of_oversight_levels_have_the_file_names_of_earlier_versions():
    assert certificate_path(Path("sweep"), PLAIN.runs()[0].at) == Path("sweep/certificate-0.1.json")
