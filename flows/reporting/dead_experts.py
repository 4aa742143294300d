"""States which runs ended with an expert that acts equally after every observation; see `agents.dead_units`."""

from collections import Counter
from collections.abc import Sequence

from flows.axis import Level
from flows.tracking.results import Results, Row

GATE = "gate"  # a gate may well weight the experts equally everywhere
REMEDY = "its units are dead; try --activation tanh, or a smaller --learning-rate"


def dead_experts(row: Row) -> tuple[str, ...]:
    """The experts of a run of which all units of the last hidden layer are dead."""
    return tuple(block for block, share in row.dead_units.items() if share == 1 and block != GATE)


def dead_experts_note(results: Results) -> str:
    """One sentence that lists arms, levels, experts and numbers of runs; empty if no run has such an expert."""
    of_run = {row.run_id: row for row in results.rows}
    runs: Counter[tuple[str, Level]] = Counter()
    dead: Counter[tuple[str, Level, str]] = Counter()
    for row in of_run.values():
        place = (row.method, results.level_of(row))
        runs[place] += 1
        dead.update((*place, expert) for expert in dead_experts(row))
    places = [
        f"{arm}, {level.title}: {expert} ({n} of {runs[arm, level]} run{'' if runs[arm, level] == 1 else 's'})"
        for (arm, level, expert), n in dead.items()
    ]
    return _sentence(places)


def run_note(rows: Sequence[Row]) -> str:
    """The same of one run."""
    return _sentence(sorted({expert for row in rows for expert in dead_experts(row)}))


def _sentence(places: Sequence[str]) -> str:
    return f"an expert acts equally after every observation: {'; '.join(places)}; {REMEDY}" if places else ""
