"""`keyhole archive` and `keyhole delete` ask before they delete, and refuse bad input with one line."""

import pytest

from flows.cli import cleanup
from flows.cli.main import cli
from flows.errors import UserError
from flows.tracking import archive
from flows.tracking.results import ARCHIVED


@pytest.fixture
def sweep(store, monkeypatch) -> str:
    """A sweep of the store that the commands use."""
    monkeypatch.setattr(cleanup, "existing_store", lambda: store)
    with store.run("stale", {"env": "envs:keyhole/TMaze-v0"}, {"kind": "sweep"}) as parent:
        pass
    return parent.run_id


def exists(store, sweep: str) -> bool:
    return bool([run for run in store.client.search_runs([store.experiment]) if run.info.run_id == sweep])


def test_a_sweep_is_archived_and_the_printed_command_shows_it_again(store, sweep, capsys):
    cleanup.archive_sweep("stale", undo=False)
    command = capsys.readouterr().out.split("`")[1].split()
    assert ARCHIVED in store.client.get_run(sweep).data.tags
    assert command[:2] == ["keyhole", "archive"]
    cli.main(command[1:4], standalone_mode=False)
    assert capsys.readouterr().out == "sweep stale and its 0 runs are shown again\n"
    assert exists(store, sweep)
    archive.delete_runs(store, sweep)


def test_without_a_terminal_nothing_is_deleted_unless_yes_is_passed(store, sweep, capsys):
    with pytest.raises(UserError, match=r"Delete sweep stale .* There is no terminal to answer on; pass --yes"):
        cleanup.delete_sweep("stale", yes=False)
    assert exists(store, sweep)
    cleanup.delete_sweep("stale", yes=True)
    assert not exists(store, sweep)
    assert capsys.readouterr().out == "deleted sweep stale and its 0 runs\n"


@pytest.mark.parametrize("answer", [True, False])
def test_the_answer_decides_whether_a_sweep_is_deleted(store, sweep, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda question: answer)
    cleanup.delete_sweep("stale", yes=False)
    assert exists(store, sweep) is not answer
    if not answer:
        archive.delete_runs(store, sweep)


def test_the_question_names_the_model_versions_that_would_be_lost(store, sweep):
    store.client.create_registered_model("keyhole-stale")
    store.client.create_model_version("keyhole-stale", str(store.project.artifacts / sweep), sweep)
    question = cleanup._question(store, sweep)
    assert question.endswith("their files and 1 registered model version made of them (keyhole-stale/1)?")
    archive.delete_runs(store, sweep)


def test_an_interrupted_deletion_prints_the_command_that_deletes_the_rest(store, sweep, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archive, "delete_runs", interrupt)
        with pytest.raises(KeyboardInterrupt, match=f"stopped; `.* delete {sweep[:8]}.*` deletes what is left"):
            cleanup.delete_sweep("stale", yes=True)
    archive.delete_runs(store, sweep)


def test_an_archived_sweep_can_be_deleted(store, sweep):
    archive.archive_runs(store, sweep)
    cleanup.delete_sweep("stale", yes=True)
    with pytest.raises(UserError, match=r"unknown sweep or study 'stale'|no sweep"):
        cleanup.delete_sweep("stale", yes=True)


@pytest.mark.parametrize("words", [["archive", "x"], ["archive", "x", "--undo"], ["delete", "x", "--yes"]])
def test_without_runs_there_is_nothing_to_clean_up(keyhole, words):
    code, _, err = keyhole(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert "no runs in" in err
