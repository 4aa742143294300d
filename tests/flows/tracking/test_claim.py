"""Only one of several processes at one server continues a sweep, and a repeated request creates one run."""

from itertools import count
from types import SimpleNamespace

import pytest

from flows.errors import UserError
from flows.project import Project
from flows.tracking import store as module
from flows.tracking.client import REQUEST, RetryingClient
from flows.tracking.process_owner import owner_tags
from flows.tracking.store import CLAIM, Store


@pytest.fixture
def shared(tmp_path_factory, store) -> Store:
    """The session's store as another machine sees it: reached by address, with a folder of its own."""
    root = tmp_path_factory.mktemp("machine")
    shared = Store(Project(root, store.project.mlruns, store="postgresql://host/keyhole"))
    shared.uri = store.uri
    return shared


@pytest.fixture
def sweep(store) -> str:
    with store.run("shared", {}, {"kind": "sweep"}) as parent:
        pass
    return parent.run_id


def during_the_wait(monkeypatch, act) -> None:
    """Lets something happen between the claim and its check."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=module.time.monotonic, sleep=lambda _: act()))


def test_a_sweep_that_nobody_else_claims_is_continued(shared, sweep, monkeypatch):
    during_the_wait(monkeypatch, lambda: None)
    with shared.run("shared", {}, {"kind": "sweep"}, resume_id=sweep):
        assert shared.client.get_run(sweep).info.status == "RUNNING"
    assert shared.client.get_run(sweep).info.status == "FINISHED"


@pytest.mark.parametrize("tags", [{CLAIM: "another"}, dict.fromkeys(owner_tags(), "another")])
def test_a_sweep_that_another_machine_continues_at_the_same_time_is_left_to_it(shared, sweep, monkeypatch, tags):
    def act() -> None:
        for name, value in tags.items():
            shared.client.set_tag(sweep, name, value)

    during_the_wait(monkeypatch, act)
    with (
        pytest.raises(UserError, match="another process has just continued sweep shared"),
        shared.run("shared", {}, {"kind": "sweep"}, resume_id=sweep),
    ):
        pytest.fail("the sweep was opened")
    assert shared.client.get_run(sweep).info.status == "FINISHED"


def test_a_claim_that_took_too_long_is_given_up(shared, sweep, monkeypatch):
    clock = count(step=module.CLAIM_SECONDS)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    with (
        pytest.raises(UserError, match="answers too slowly to continue sweep shared safely"),
        shared.run("shared", {}, {"kind": "sweep"}, resume_id=sweep),
    ):
        pytest.fail("the sweep was opened")
    assert shared.client.get_run(sweep).info.status == "FINISHED"


def test_a_run_whose_answer_was_lost_is_found_and_not_created_again(store):
    lost = iter([True])

    def create_run(experiment, tags, run_name):
        run = store.client.create_run(experiment, tags=tags, run_name=run_name)
        if next(lost, False):
            raise RuntimeError("server closed the connection")
        return run

    inner = SimpleNamespace(create_run=create_run, search_runs=store.client.search_runs)
    run = RetryingClient(inner, "db", remote=True).create_run(store.experiment, tags={"a": "b"}, run_name="once")
    found = store.client.search_runs([store.experiment], "attributes.run_name = 'once'")
    assert [each.info.run_id for each in found] == [run.info.run_id]
    assert run.data.tags["a"] == "b"
    assert len(run.data.tags[REQUEST]) == 32
    store.client.set_terminated(run.info.run_id)
