"""Figures, pages and registered models that cannot be made are named; the sweep and its runs keep their numbers."""

import csv

import pytest

from flows.cli import commands
from flows.config import TrainConfig
from flows.reporting import figures, report
from flows.running import train
from flows.sweep.finalize import finalize
from flows.tracking import model_registry, results
from flows.tracking.missing import MISSING, Missing
from tests.flows import doubles

ENV = "envs:keyhole/TMaze-v0"


def broken(*_, **__):
    raise RuntimeError("no\nfont")


@pytest.fixture
def sweep(store) -> str:
    """A sweep of two methods with agents, not yet finalised."""
    with store.run("unfinished pictures", {"env": ENV}, {"kind": "sweep"}) as parent:
        for method in ("naive", "filtering"):
            config = TrainConfig(env=ENV, method=method, oversight=0.5, steps=100, checkpoints=2)
            params = {"env": "envs:keyhole/Missing-v0"}  # the models of other tests have other names
            with store.run(config.title, params, config.tags, parent=parent.run_id) as record:
                doubles.acts(config, record)
    return parent.run_id


@pytest.mark.parametrize(
    ("module", "function", "part"),
    [
        (figures, "oversight_figure", "true_return.png"),
        (figures, "curves_figure", "learning_curves.png"),
        (report, "render", "report.html"),
        (report, "write_csv", "results.csv"),
        (report, "write_comparison", "comparison.csv"),
        (report, "summary", "description in the MLflow UI"),
        (model_registry, "_write_model", "registered model of naive"),
        (model_registry, "_register_version", "registered model of filtering"),
        ("flows.sweep.finalize", "tag_sweep", "tags of certificates and best run"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_are_made(store, sweep, monkeypatch, module, function, part):
    target = f"{module if isinstance(module, str) else module.__name__}.{function}"
    monkeypatch.setattr(target, broken)
    missing = Missing()
    finalize(store, sweep, missing)
    assert f"{part} (RuntimeError: no font)" in str(missing)
    run = store.client.get_run(sweep)
    assert (run.info.status, run.data.tags[MISSING]) == ("FINISHED", str(missing))
    files = {file.name for file in store.folder(run).iterdir()}
    assert files >= {"results.csv", "true_return.png", "learning_curves.png", "report.html"} - {part}
    monkeypatch.undo()
    finalize(store, sweep, Missing())
    assert MISSING not in store.client.get_run(sweep).data.tags


def test_the_page_shows_the_table_without_the_figures_that_are_missing(store, sweep, monkeypatch):
    monkeypatch.setattr(figures, "oversight_figure", broken)
    monkeypatch.setattr(figures, "curves_figure", broken)
    finalize(store, sweep, Missing())
    page = (results.read_results(store, sweep).folder / report.PAGE).read_text()
    assert "<img" not in page
    assert "naive" in page


def test_the_command_names_what_is_missing_in_one_line(store, sweep, monkeypatch, capsys):
    monkeypatch.setattr(figures, "oversight_figure", broken)
    finalize(store, sweep, Missing())
    commands._show(store, sweep)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "missing: true_return.png (RuntimeError: no font)" in err
    assert f"keyhole report {sweep[:8]}" in err


def test_a_run_whose_pictures_fail_finishes_with_its_numbers_and_names_them(store, monkeypatch):
    monkeypatch.setattr(train, "learning_curve_figure", broken)
    monkeypatch.setattr(train, "policy_figure", broken)
    training = {"n_envs": 8, "n_steps": 8, "width": 4}
    config = TrainConfig(env=ENV, method="naive", steps=128, checkpoints=1, training=training)
    with (
        store.run("parent", {}, {"kind": "sweep"}) as parent,
        store.run("plain", {}, config.tags, parent=parent.run_id) as record,
    ):
        train.run(config, record)
    run = store.client.get_run(record.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[MISSING] == "learning_curve.png (RuntimeError: no font), policy.png (RuntimeError: no font)"
    found = results.read_results(store, parent.run_id)
    assert {row.run_id for row in found.finished} == {record.run_id}
    assert found.missing == (f"of 1 run: {run.data.tags[MISSING]}",)
    assert (record.folder / "agent.zip").exists()
    assert not (record.folder / train.STATE).exists()


def test_an_interrupt_is_not_taken_for_a_missing_part():
    with pytest.raises(KeyboardInterrupt), Missing().part("page"):
        raise KeyboardInterrupt


def test_a_full_disk_leaves_no_half_of_the_table_unnamed(store, sweep, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(csv, "writer", full)
    missing = Missing()
    finalize(store, sweep, missing)
    full_disk = "OSError: [Errno 28] No space left on device"
    assert str(missing) == f"results.csv ({full_disk}), comparison.csv ({full_disk})"
