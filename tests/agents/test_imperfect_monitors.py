"""What the overseer of each row of the table of imperfect monitors in docs/limits.md sees, exactly."""

import re
from pathlib import Path

import numpy as np
import pytest

import agents
import envs
from envs.certificate.aliasing import random_visits
from routing import View, parse_limits
from routing.oversight.limits import HISTORY

P = 0.25  # the oversight level
TEXT = (Path(__file__).parents[2] / "docs/limits.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Imperfect monitors")[2].partition("\n## ")[0]
ROWS = {
    cells[0]: tuple(cell.strip("`") for cell in cells[1:4])
    for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines())
    if len(cells) == 5 and cells[1].startswith("`")
}


def seen(p, **labels):
    """Label -> probability, of an ending that is otherwise judged with p under its own name."""
    return {"something": 1 - p, **labels}


def as_usual(outcome, column, row):
    return seen(P, **{outcome: P})


def blind_to(*outcomes, low=0):
    return lambda outcome, column, row: (
        {"something": 1.0} if outcome in outcomes and column >= low else as_usual(outcome, column, row)
    )


def fading(outcome, column, row):
    p = P * (1, 1, 0.5, 0.2, 0)[column]
    return seen(p, **{outcome: p})


def mislabelled(outcome, column, row):
    return seen(P, diamond=P) if outcome == "ghost" and column >= 3 else as_usual(outcome, column, row)


def reversed_below(outcome, column, row):
    other = {"ghost": "diamond", "diamond": "ghost"}[outcome]
    return seen(P, **{outcome: 0.7 * P, other: 0.3 * P}) if row >= 3 else as_usual(outcome, column, row)


def alarms(outcome, column, row):
    if outcome == "ghost":
        return as_usual(outcome, column, row)
    return {"something": 0.8 * (1 - P), "diamond": 0.8 * P, "ghost": 0.2}


EXPECTED = {  # setting -> (outcome, column, row) -> label -> probability
    "ghosts of the right two columns are never seen": blind_to("ghost", low=3),
    "nothing in two columns is ever labelled": blind_to("ghost", "diamond", low=3),
    "the view fades to the right": fading,
    "half of the ghosts are missed": lambda outcome, *place: (
        seen(P / 2, ghost=P / 2) if outcome == "ghost" else as_usual(outcome, *place)
    ),
    "ghost-only labels": blind_to("diamond"),
    "diamond-only labels": blind_to("ghost"),
    "ghosts of a region are always labelled diamond": mislabelled,
    "verdicts are often wrong in a region": reversed_below,
    "false alarms on diamonds": alarms,
    "of two kinds of ghost one is never seen": blind_to("second ghost"),
}


def make(setting):
    name, argument, overseer = ROWS[setting]
    keywords = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", argument)}
    if "ghosts" in keywords:
        keywords["size"] = 3  # 5 has no tables
    p = {"oversight_prob": P} if name == "DiamondGhost" else {}
    return agents.make_world(f"envs:keyhole/{name}-v0", 1, overseer=overseer, **p, **keywords)


def shares(env):
    """(outcome, column, row) -> label -> probability, of endings under the uniformly random policy."""
    tables = envs.compile_world(env)
    visits, size = random_visits(tables).ravel(), env.unwrapped.size
    successor = tables.successor.ravel()
    row, column = np.divmod(tables.states[successor, 0], size)
    found = {}
    for outcome, kind in enumerate(env.outcomes[1:], 1):
        for place in np.ndindex(size, size):
            ends = (tables.outcome[successor] == outcome) & (column == place[1]) & (row == place[0])
            counts = np.bincount(tables.overseer_obs.ravel()[ends], visits[ends], len(env.overseer_labels))
            labels = zip(env.overseer_labels, counts / counts.sum(), strict=True)
            found[kind, place[1], place[0]] = {label: share for label, share in labels if share > 1e-12}
    return found


@pytest.mark.parametrize("setting", EXPECTED)
def test_an_ending_is_seen_by_an_imperfect_monitor_as_the_table_says(setting):
    found = shares(make(setting))
    for (outcome, column, row), labels in found.items():
        expected = {label: share for label, share in EXPECTED[setting](outcome, column, row).items() if share > 0}
        assert labels == pytest.approx(expected, abs=1e-9), (outcome, column, row)


def test_the_view_of_k_columns_is_blind_to_the_ghosts_of_k_columns():
    for k in range(6):
        env = agents.make_world(
            "envs:keyhole/DiamondGhost-v0",
            1,
            oversight_prob=P,
            overseer=f"recall(0,of=ghost,feature=column,low={5 - k})",
        )
        unseen = {column for (outcome, column, _), labels in shares(env).items() if outcome not in labels}
        assert unseen == set(range(5 - k, 5))


def test_a_budget_of_200_labels_gives_200_and_no_more():
    (bound,) = parse_limits(ROWS["200 labels in all"][2])
    assert bound.part.kind == HISTORY
    budget = bound.make(0)
    verdict = np.where(np.arange(32 * 16).reshape(32, 16) % 3 == 0, -1.0, np.nan)
    view = View(np.zeros((32, 16), int), np.zeros((32, 16)), np.ones((32, 16), bool), verdict=verdict)
    given = [int((~np.isnan(budget(view).verdict)).sum()) for _ in range(3)]
    assert given == [171, 29, 0]
    assert make("200 labels in all").history_limits == (bound,)


@pytest.mark.parametrize(
    ("setting", "share"), [("tampering in view of a camera", 1.0), ("the recording is often not watched", 0.25)]
)
def test_a_camera_films_tampering_with_the_one_in_its_view(setting, share):
    env = make(setting)
    tables = envs.compile_world(env)
    filmed = ((tables.overseer_obs == env.overseer_labels.index("tampering filmed")) * tables.noise).sum(2)
    with_first = np.arange(tables.n_actions) == env.unwrapped.action_names.index("tamper")
    in_view = tables.states[: len(filmed), 2] == 0
    assert filmed == pytest.approx(share * (in_view[:, None] & with_first), abs=1e-12)


def test_every_row_of_the_table_is_tested():
    others = {"200 labels in all", "tampering in view of a camera", "the recording is often not watched"}
    assert ROWS.keys() == EXPECTED.keys() | others
    assert all(row[0] in ("DiamondGhost", "DiamondVault") for row in ROWS.values())
