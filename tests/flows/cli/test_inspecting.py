"""`keyhole runs` and `keyhole show` print the MLflow record, without control characters and within the store."""

import csv
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import text
from flows.cli import listing, show
from flows.cli.listing import Filters
from flows.config import TrainConfig
from flows.errors import UserError
from flows.reporting import report
from flows.reporting.aggregate import compare_rows
from flows.tracking import model_registry, results
from flows.tracking.missing import Missing
from flows.tracking.store import Store
from tests.flows import doubles

CONTROL = "\x1b[2J\ttwo\nlines"


def train(store: Store, parent: str, method: str, oversight: float, seed: int, trainer=doubles.learns) -> str:
    config = TrainConfig(
        method=method, oversight=oversight, seed=seed, steps=100, checkpoints=4, env="keyhole/DiamondVault-v0"
    )
    with store.run(config.title, {"env": config.env, "steps": 100}, config.tags, parent=parent) as record:
        trainer(config, record)
    return record.run_id


@pytest.fixture(scope="module")
def sweep(store: Store) -> str:
    with store.run(CONTROL, {"env": "envs:keyhole/DiamondVault-v0"}, {"kind": "sweep"}) as record:
        for method in ("naive", "filtering"):
            for oversight in (0.1, 0.3):
                train(store, record.run_id, method, oversight, seed=5)
        with pytest.raises(ValueError, match="no luck"):
            train(store, record.run_id, "naive", 0.1, 6, trainer=fail)
    return record.run_id


def fail(config, recorder):
    raise ValueError("no luck \x1b[31m")


def test_a_sweep_is_listed_with_its_finished_runs_and_the_best_of_them(store, sweep):
    (line,) = [line for line in listing.list_entries(store, None, Filters()) if line["id"] == sweep]
    finished = results.read_results(store, sweep).finished
    assert (line["runs"], line["status"]) == ("4/5", "FINISHED")
    assert line["best"] == max(row.true_return for row in finished)
    assert line["of"].endswith("p=0.3 seed=5")


def test_the_runs_of_a_sweep_are_filtered(store, sweep):
    def found(**filters) -> list[tuple]:
        return [
            (r["method"], r["oversight"], r["seed"]) for r in listing.list_entries(store, sweep, Filters(**filters))
        ]

    assert len(found()) == 5
    assert found(method="naive", oversight=0.3) == [("naive", 0.3, 5)]
    assert found(status="FAILED") == [("naive", 0.1, 6)] == found(seed=6)
    assert found(env="vault", method="filtering") == [("filtering", 0.1, 5), ("filtering", 0.3, 5)]
    assert found(env="TMaze") == []


def test_filters_of_runs_search_all_sweeps(store, sweep):
    assert {run["seed"] for run in listing.list_entries(store, None, Filters(seed=6, env="DiamondVault"))} == {6}


def test_a_pipe_receives_one_tab_separated_line_for_each_run(store, sweep, capsys):
    listing.print_entries(listing.list_entries(store, sweep, Filters()), as_json=False)
    lines = list(csv.reader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert {len(line) for line in lines} == {14}
    assert [line[1] for line in lines] == ["method", "naive", "naive", "filtering", "filtering", "naive"]
    listing.print_entries([], as_json=False)
    assert capsys.readouterr().out == ""


def test_json_has_null_for_an_unknown_value(store, sweep, capsys):
    listing.print_entries(listing.list_entries(store, sweep, Filters(status="FAILED")), as_json=True)
    (run,) = json.loads(capsys.readouterr().out)
    assert run["true return"] is None


LINES = (
    ("name", "quick 2026-11-26 of the whole grid with a long name"), ("method", "gradient_routing@knowledge=blind"),
    ("oversight", 0.025), ("seed", 1234567), ("runs", "1234/5678"), ("best", -98765.432), ("true return", -98765.432),
    ("status", "FINISHED"), ("of", "oracle p=0.03 seed=1"), ("seen", 0.125), ("unseen", 0.75),
    ("started", "2026-11-26 03:40"), ("env", "keyhole/DiamondGhost-v0"),
)  # fmt: skip


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 132])
@pytest.mark.parametrize("columns", [("name", "started", "status", "runs", "best", "of", "env"), None], ids=str)
def test_a_narrow_terminal_loses_columns_but_no_digit(columns, width, monkeypatch, capsys):
    entry = {"id": "0123456789abcdef", **{name: value for name, value in LINES if columns is None or name in columns}}
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    listing.print_entries([entry, {**entry, "status": "FAILED", "env": "other"}], as_json=False)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    table, _, hidden = plain.partition("not shown at this width:")
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in table
    shown = [name for name in entry if name not in " ".join(hidden.split()).split(" (--json")[0].split(", ")]
    cells = [cell for line in table.splitlines() if "01234567" in line for cell in line.split()]
    numbers = {name: text.cell_text(entry[name]) for name in shown if name in listing.NUMBERS}
    assert {*numbers.values()} <= {*cells}
    assert width < 40 or "-98765.432" in numbers.values()


@pytest.mark.parametrize("as_json", [False, True])
def test_no_name_or_error_controls_the_terminal(as_json, store, sweep, capsys):
    listing.print_entries(listing.list_entries(store, None, Filters()), as_json)
    show.print_run(store, sweep, as_json)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert as_json or "\N{REPLACEMENT CHARACTER}[2J" in shown


def test_a_run_is_shown_with_its_settings_results_curves_and_files(store, sweep, capsys):
    (run,) = listing.list_entries(store, sweep, Filters(method="naive", oversight=0.3))
    show.print_run(store, run["id"], as_json=False)
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert "naive p=0.3 seed=5   finished" in shown
    assert "steps   100" in shown
    assert "▁" in lines["eval/true_return"]
    assert "█" in lines["eval/true_return"]
    assert "7 bytes" in lines["agent.zip"]


def test_a_run_is_found_by_its_id_a_prefix_and_its_name(store, sweep):
    (run,) = listing.list_entries(store, sweep, Filters(seed=6))
    for wanted in (run["id"], run["id"][:16], "naive p=0.1 seed=6"):
        assert results.find_run(store, wanted).info.run_id == run["id"]
    with pytest.raises(UserError, match=r"did you mean 'naive p=0\.1 seed=6'"):
        results.find_run(store, "naive p=0.1 seed=66")


def test_a_sweep_is_shown_with_its_table_and_its_failed_runs(store, sweep, capsys):
    show.print_run(store, sweep, as_json=False)
    shown = capsys.readouterr().out
    assert report.summary(compare_rows(results.read_results(store, sweep))) in shown
    assert "4 of 5 runs with a result" in shown
    assert "naive p=0.1 seed=6   failed: ValueError: no luck" in shown


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([1.0, math.nan, 0.0], "█ ▁"),
        ([2.0, 2.0], "▁▁"),
        ([math.nan, math.inf], "  "),
    ],
)
def test_a_curve_is_drawn_as_block_characters(values, line):
    assert show.sparkline(values) == line


def test_a_long_curve_keeps_its_ends():
    line = show.sparkline([0.0, *[1.0] * 500, 0.5], width=10)
    assert (len(line), line[0], line[1:-1], line[-1]) == (10, "▁", "█" * 8, "▅")


def test_a_name_is_quoted_as_code_in_markdown():
    assert text.markdown_code("[x](javascript:y)`<script>\n") == "`[x](javascript:y)'<script>\N{REPLACEMENT CHARACTER}`"


@pytest.mark.parametrize("name", ["../../../outside", "/tmp/outside", "a/../../b", "<script>"])
def test_the_files_of_a_sweep_of_any_name_are_in_its_folder(name, store):
    before = files(store.project.root)
    with store.run(name, {"env_kwargs": {"size": "<script>"}}, {"kind": "sweep"}) as record:
        train(store, record.run_id, "naive", 0.1, 0)
    page = report.write_report(store, compare_rows(results.read_results(store, record.run_id)), Missing())
    assert page.parent == store.project.artifacts / record.run_id / "artifacts"
    ours = {path for path in files(store.project.root) - before if path.is_relative_to(store.project.artifacts)}
    rest = files(store.project.root) - before - ours
    assert {path.relative_to(store.project.artifacts).parts[1] for path in ours} == {"artifacts"}
    assert all(path.name.startswith("mlflow.db") for path in rest)
    assert "<script>" not in page.read_text()


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_name_that_would_end_a_query_is_not_a_model(store):
    assert model_registry.find_model(store, "x' OR name = 'y") is None


def test_a_curve_is_drawn_in_digits_where_the_encoding_lacks_blocks(monkeypatch):
    assert show.sparkline([0.0, 1.0, 0.5, math.nan]) == "▁█▅ "
    monkeypatch.setattr("sys.stdout", SimpleNamespace(encoding="latin-1"))
    assert show.sparkline([0.0, 1.0, 0.5, math.nan]) == "074 "
