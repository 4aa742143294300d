"""Plans, tables, files and tags of a sweep whose axis is another than the oversight level."""

import csv

import pytest

import flows
from flows.axis import parse_axis
from flows.cli import listing, show
from flows.config import CompareConfig, RunOptions, TrainConfig
from flows.errors import UserError
from flows.reporting import figures, report
from flows.reporting.aggregate import compare_rows, learning_curves
from flows.sweep import checks, earlier, finalize, plan, prefect_artifacts
from flows.tracking import cache_key, certificates, results
from flows.tracking.missing import Missing
from flows.tracking.store import CONFIG, Store
from tests.flows import doubles

KNOWN = {
    "optimal_return": 0.9, "enforceable_return": 0.03, "enforceable_return_uniform_ties": 0.03,
    "naive_optimum_return": -0.01, "enforceable_is_exact": False, "naive_optimum_return_worst_ties": -0.02,
}  # fmt: skip
DIGEST = "code"


def configuration(axis: str, seeds: int = 2, **settings) -> CompareConfig:
    return CompareConfig(methods=("naive", "filtering"), axis=axis, seeds=seeds, steps=100, checkpoints=2, **settings)


def record(store: Store, config: CompareConfig, fails=(), stays=()) -> str:
    """Records a sweep whose runs do not learn, with the certificate of its first level; returns its id."""
    params = {"env": config.env, **config.model_dump(mode="json")}
    with store.run(config.axis, params, {"kind": "sweep", CONFIG: config.model_dump_json()}) as parent:
        parent.params(certificates.certificate_params(config.runs()[0].at, KNOWN))
        certificates.certificate_path(parent.folder, config.runs()[0].at).write_text('{"a": 1}')
        for run in config.runs():
            if run.title in stays:
                continue
            try:
                tags = {**run.tags, cache_key.CACHE_KEY: cache_key.run_key(run, DIGEST)}
                with store.run(run.title, {"env": run.env}, tags, parent.run_id) as recorder:
                    train(run, recorder, run.title in fails)
            except ValueError:
                continue
    return parent.run_id


def train(run: TrainConfig, recorder, fails: bool) -> None:
    if fails:
        raise ValueError("no")
    doubles.learns(run.model_copy(update={"oversight": 0.2 if run.level in (2, "aware") else 0.4}), recorder)


@pytest.fixture(scope="module")
def sizes(store) -> str:
    return record(store, configuration("size=10,2"), fails=("filtering size=2 seed=1",))


@pytest.fixture(scope="module")
def kinds(store) -> str:
    return record(store, configuration("knowledge=blind,aware"))


def test_a_sweep_is_aggregated_at_each_level_of_its_axis(store, sizes, kinds):
    comparison = compare_rows(results.read_results(store, sizes))
    assert [level.title for level in comparison.levels] == ["size 2", "size 10"]
    assert {(cell.row, cell.level.text): cell.true_return.n for cell in comparison.cells} == {
        ("naive", "2"): 2, ("filtering", "2"): 1, ("naive", "10"): 2, ("filtering", "10"): 2,
    }  # fmt: skip
    assert comparison.cell("naive", comparison.levels[1]).true_return.mean > 0.3
    assert {row for row, _ in comparison.contrasts} == {"filtering"}
    assert list(results.read_results(store, sizes).references) == [parse_axis("size=10").levels[0]]
    assert [level.text for level in compare_rows(results.read_results(store, kinds)).levels] == ["blind", "aware"]


def test_a_sweep_whose_settings_are_lost_keeps_the_axis_of_its_runs(store, kinds):
    text = store.client.get_run(kinds).data.tags[CONFIG]
    store.client.set_tag(kinds, CONFIG, "lost")
    found = results.read_results(store, kinds)
    store.client.set_tag(kinds, CONFIG, text)
    assert found.axis == parse_axis("knowledge=blind,aware")


def test_the_files_of_a_sweep_have_columns_of_its_axis(store, sizes):
    comparison, missing = compare_rows(results.read_results(store, sizes)), Missing()
    page = report.write_report(store, comparison, missing)
    assert not missing
    for name in ("results.csv", "comparison.csv"):
        with page.with_name(name).open() as file:
            lines = list(csv.DictReader(file))
        assert {(line["axis"], line["level"], line["oversight"]) for line in lines} == {
            ("size", "2", "0.1"),
            ("size", "10", "0.1"),
        }
    text = " ".join(page.read_text().split())
    assert "as size changes? The oversight level is 0.1." in text
    assert "filtering, size 2, seed 1" in text
    assert "oversight 0.1" not in text


def test_the_dataframe_has_numbers_where_all_levels_are_numbers(store, sizes, kinds):
    frames = [flows.results(sweep, mlruns=store.project.mlruns) for sweep in (sizes, kinds)]
    assert set(frames[0].axis) == {"size"}
    assert set(frames[0].level) == {2, 10}
    assert set(frames[1].level) == {"aware", "blind"}


def test_terminal_and_prefect_show_the_levels(store, sizes, capsys):
    comparison = compare_rows(results.read_results(store, sizes))
    assert [line for line in report.summary(comparison).splitlines() if line.startswith("size")] == [
        "size 2", "size 10", "size 2", "size 10",
    ]  # fmt: skip
    assert {row["size"] for row in prefect_artifacts.results_table(comparison)} == {"2", "10"}
    show.print_run(store, sizes, as_json=False)
    assert "filtering size=2 seed=1   failed: ValueError: no" in capsys.readouterr().out


def test_runs_are_listed_with_their_level_and_found_by_it(store, sizes):
    entries = listing.list_entries(store, sizes, listing.Filters(level="2"))
    assert {(entry["axis"], entry["level"]) for entry in entries} == {("size", "2")}
    assert len(entries) == 4
    assert listing.list_entries(store, sizes, listing.Filters(level="size=2")) == entries
    assert not listing.list_entries(store, sizes, listing.Filters(level="knowledge=2"))
    (sweep,) = [entry for entry in listing.list_entries(store, None, listing.Filters()) if entry["id"] == sizes]
    assert sweep["of"].partition(" ")[2].startswith("size=10 seed=")
    assert sweep["runs"] == "7/8"


def test_tags_of_a_sweep_name_its_levels(store, sizes):
    finalize.tag_sweep(store, results.read_results(store, sizes))
    tags = store.client.get_run(sizes).data.tags
    assert tags["certificate.size-10"] == finalize.digest({"a": 1})
    assert "(size=10)" in tags["best"]
    certified = {run.data.tags["level"] for run in results.child_runs(store, sizes) if "certificate" in run.data.tags}
    assert certified == {"10"}


def positions(monkeypatch, comparison) -> tuple[str, list[float], list[str]]:
    """The scale, positions and labels of the x axis of a figure."""
    drawn = []
    monkeypatch.setattr(figures, "png_bytes", lambda figure: drawn.append(figure.axes[0]) or b"")
    figures.oversight_figure(comparison.cells, comparison.results.references)
    axes = drawn[0].xaxis
    return axes.get_scale(), list(axes.get_ticklocs()), [text.get_text() for text in axes.get_ticklabels()]


def test_numbers_are_placed_by_value_and_other_levels_at_equal_distances(store, sizes, kinds, monkeypatch):
    read = {sweep: compare_rows(results.read_results(store, sweep)) for sweep in (sizes, kinds)}
    assert positions(monkeypatch, read[sizes]) == ("log", [2, 10], ["2", "10"])
    assert positions(monkeypatch, read[kinds]) == ("linear", [0, 1], ["blind", "aware"])


def test_learning_curves_have_a_colour_for_each_level(store, kinds, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "png_bytes", lambda figure: drawn.append(figure) or b"")
    found = results.read_results(store, kinds)
    figures.curves_figure(learning_curves(found), found.references)
    (legend,) = drawn[0].legends
    assert legend.get_title().get_text() == "knowledge"
    assert [text.get_text() for text in legend.get_texts()] == ["blind", "aware"]
    colours = {line.get_label(): line.get_color() for line in drawn[0].axes[0].get_lines()[:2]}
    assert [handle.get_color() for handle in legend.legend_handles] == [colours["blind"], colours["aware"]]


def test_a_sweep_with_an_axis_is_resumed_extended_and_reused(store):
    config = configuration("size=3,4", seeds=1, name="axis")
    run_id = record(store, config, fails=("naive size=4 seed=0",), stays=("filtering size=4 seed=0",))
    made = plan.make_plan(store, config, RunOptions(resume=run_id), DIGEST)
    assert [run.title for run in made.finished] == ["naive size=3 seed=0", "filtering size=3 seed=0"]
    assert [(todo.config.title, bool(todo.resume_id)) for todo in made.todo] == [
        ("naive size=4 seed=0", True),
        ("filtering size=4 seed=0", False),
    ]
    failed = plan.make_plan(store, config, RunOptions(resume=run_id, only_failed=True), DIGEST)
    assert [todo.config.title for todo in failed.todo] == ["naive size=4 seed=0"]
    assert [run.title for run in failed.left] == ["filtering size=4 seed=0"]
    sweep = store.client.get_run(run_id)
    assert [run.title for run in plan.missing_runs(sweep, results.child_runs(store, run_id))] == [
        "filtering size=4 seed=0"
    ]


def test_an_equal_sweep_leaves_nothing_to_train_and_gets_further_seeds(store):
    config = configuration("size=5,6", seeds=1, name="again")
    run_id = record(store, config)
    assert earlier.find_unchanged(store, config, RunOptions(), DIGEST).info.run_id == run_id
    assert earlier.find_unchanged(store, configuration("size=5,7", 1, name="again"), RunOptions(), DIGEST) is None
    extended, options = earlier.with_next_seeds(store, config, RunOptions(next_seeds=True), DIGEST)
    made = plan.make_plan(store, extended, options, DIGEST)
    assert (options.resume, len(made.finished), len(made.todo)) == (run_id, 4, 4)


def test_an_error_of_a_run_names_its_level(monkeypatch):
    def refuse(run: TrainConfig, evaluates: bool = True) -> None:
        if run.level == 0.5:
            raise UserError(f"cannot build {run.overseer}")

    monkeypatch.setattr(checks, "check_run_environment", lambda *_, **__: None)
    monkeypatch.setattr(checks, "rehearse", refuse)
    checks.check_sweep(configuration("recall.rate=0.2,0.3", overseer="recall(of=ghost)"))
    with pytest.raises(UserError, match=r"^--axis recall.rate=0.5: cannot build recall\(of=ghost,rate=0.5\)$"):
        checks.check_sweep(configuration("recall.rate=0.2,0.5", overseer="recall(of=ghost)"))


def test_every_level_is_rehearsed_with_its_own_limits(monkeypatch):
    rehearsed = []
    monkeypatch.setattr(checks, "check_run_environment", lambda *_, **__: None)
    monkeypatch.setattr(checks, "rehearse", lambda run, evaluates=True: rehearsed.append((run.overseer, evaluates)))
    checks.check_sweep(configuration("noise.rate=0.2,0.3,0.4", overseer="noise"))
    whole = [overseer for overseer, evaluates in rehearsed if evaluates]
    assert whole == [f"noise(rate={rate})" for rate in (0.2, 0.3, 0.4)]


@pytest.mark.parametrize("name", ["axis", "level"])
@pytest.mark.parametrize("value", [None, "", "high", "inf"])
@pytest.mark.parametrize("axis", ["size=10,2", "knowledge=blind,aware"])
def test_a_sweep_whose_levels_were_edited_on_mlflows_page_has_a_report(store, axis, name, value):
    run_id = record(store, configuration(axis, seeds=1))
    edited = results.child_runs(store, run_id)[0].info.run_id
    if value is None:
        store.client.delete_tag(edited, name)
    else:
        store.client.set_tag(edited, name, value)
    comparison, missing = compare_rows(results.read_results(store, run_id)), Missing()
    assert report.summary(comparison)
    report.write_report(store, comparison, missing)
    assert not missing
    assert listing.list_entries(store, run_id, listing.Filters())
