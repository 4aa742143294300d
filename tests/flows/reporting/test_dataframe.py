"""`flows.results` is results.csv as a DataFrame."""

import math

import pandas
import pytest
from mlflow import MlflowClient

import flows
from flows.config import TrainConfig
from flows.errors import UserError
from flows.reporting.report import write_csv
from flows.tracking.artifact_store import LocalArtifacts
from flows.tracking.results import read_results
from tests.flows import doubles


@pytest.fixture(scope="module")
def sweep(store):
    """A sweep with two runs that finished and one that failed."""
    with store.run("as a frame", {}, {"kind": "sweep"}) as parent:
        for method, seed, trainer in (("naive", 0, doubles.learns), ("gradient_routing", 1, doubles.learns)):
            config = TrainConfig(method=method, seed=seed, oversight=0.1, steps=100, checkpoints=4)
            with store.run(config.title, {}, config.tags, parent=parent.run_id) as record:
                trainer(config, record)
        config = TrainConfig(method="naive", seed=2, oversight=0.1, steps=100, checkpoints=4)
        with (
            pytest.raises(ValueError, match="no luck"),
            store.run(config.title, {}, config.tags, parent=parent.run_id),
        ):
            raise ValueError("no luck")
    return parent.run_id


@pytest.mark.parametrize("by", ["name", "id", "prefix"])
def test_it_equals_results_csv(store, sweep, by, tmp_path):
    name = {"name": "as a frame", "id": sweep, "prefix": sweep[:20]}[by]
    frame = flows.results(name, mlruns=store.project.mlruns)
    write_csv(read_results(store, sweep), tmp_path / "results.csv")
    expected = pandas.read_csv(tmp_path / "results.csv", keep_default_na=False, na_values={"true_return": ""})
    assert list(frame.columns) == list(expected.columns)
    assert len(frame) == len(expected) >= 3
    for column in expected:
        for ours, theirs in zip(frame[column], expected[column], strict=True):
            if isinstance(ours, float):
                assert (theirs == "" if math.isnan(ours) else float(theirs) == ours) or math.isnan(float(theirs))
            else:
                assert str(ours) == str(theirs)
    assert frame.attrs == {"sweep": "as a frame", "run_id": sweep}


def test_a_folder_is_read_even_if_the_shell_selects_a_server(store, sweep, monkeypatch):
    monkeypatch.setenv("KEYHOLE_STORE", "http://127.0.0.1:1")
    assert flows.results(sweep, mlruns=store.project.mlruns).attrs["run_id"] == sweep


def test_no_file_is_downloaded(store, sweep, monkeypatch):
    monkeypatch.setattr(LocalArtifacts, "folder", lambda *_: pytest.fail("the files of a run were requested"))
    assert len(flows.results(sweep, mlruns=store.project.mlruns)) >= 3


def test_a_database_without_keyholes_experiment_gets_none(tmp_path):
    (tmp_path / "mlruns").mkdir()
    database = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    client = MlflowClient(tracking_uri=database)
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    with pytest.raises(UserError, match=r"has no experiment keyhole, so no runs; `.*compare.*` makes the first"):
        flows.results(mlruns=tmp_path / "mlruns")
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]


def test_failed_runs_have_no_return_and_name_their_error(store, sweep):
    frame = flows.results(sweep, mlruns=store.project.mlruns)
    failed = frame[frame.status == "FAILED"]
    assert failed.error.tolist() == ["ValueError: no luck"]
    assert failed.true_return.isna().all()
    assert frame[frame.status == "FINISHED"].true_return.notna().all()


def test_a_sweep_without_runs_is_an_empty_frame(store):
    with store.run("empty", {}, {"kind": "sweep"}) as parent:
        pass
    frame = flows.results(parent.run_id, mlruns=store.project.mlruns)
    assert len(frame) == 0
    assert "true_return" in frame


def test_an_unknown_sweep_and_a_missing_store_are_user_errors(store, sweep, tmp_path):
    with pytest.raises(UserError, match="unknown sweep 'as a fram'; did you mean 'as a frame'"):
        flows.results("as a fram", mlruns=store.project.mlruns)
    with pytest.raises(UserError, match="no runs in"):
        flows.results(mlruns=tmp_path)
    with pytest.raises(UserError, match="does not answer"):
        flows.results(store="http://127.0.0.1:1")
