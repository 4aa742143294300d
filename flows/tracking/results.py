"""The results of a sweep, read from MLflow alone.

A row is one run under one deployment rule. Its name is `method` for the method's first deployment rule and
`method/rule` for the others. A run that was repeated because its process died counts once, as its last attempt.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from flows.axis import OVERSIGHT, OVERSIGHT_AXIS, Axis, Level, oversight_level, parse_axis
from flows.errors import UserError, nearest_hint
from flows.shell import shell_command
from flows.tracking.certificates import Reference, references
from flows.tracking.missing import MISSING
from flows.tracking.store import CONFIG, PARENT, Store

CURVE = "eval/true_return"
ARCHIVED = "archived"  # tag of an archived run: when it was archived
WITHOUT = "eval/true_return/without_"
BAD_ACTS = (  # fields of a row that are read from `selected/<field>/<rule>`
    "bad_acts", "bad_acts_monitored", "bad_acts_unmonitored", "bad_verdicts", "retained_return", "scale",
)  # fmt: skip
ABSORPTION = "absorption/"
ABSORPTION_METRICS = ("unlabelled_bad_share", "gradient_share", "ablation_effect", "random_ablation_effect")
DEAD_UNITS = "dead_units/"
SCALE = "scale/"
SCALES = 10  # the step of a metric of `SCALE` is the scale of the forget experts times this
RELEARNING = "relearning/bad_acts"
RUN_IDENTITY = ("arm", "oversight", "axis", "level", "seed")  # tags that identify a run within its sweep
NAN = float("nan")
Points = tuple[tuple[float, float], ...]


class Row(NamedTuple):
    """One run under one deployment rule: a line of results.csv. Returns are discounted and per episode."""

    row: str
    method: str
    deployment: str
    leaky: bool
    oversight: float
    seed: int
    status: str
    true_return: float
    seen: float
    unseen: float
    selected_step: float
    without: Mapping[str, float]
    proxy_return: float
    labels_used: float
    exactness: str
    run_id: str
    error: str
    evaluation: Mapping[str, float] = MappingProxyType({})
    """metric -> value at the last checkpoint, of the policy as the method's first rule deploys it"""
    axis: str = OVERSIGHT
    """what the sweep of the run changes from level to level"""
    level: str = ""
    """the value of the axis, as text"""
    overseer: str = ""
    """limits of the overseer"""
    audits: float = NAN
    """probability that an episode is audited; nan: the environment has no audits"""
    bad_acts: float = NAN
    """expected bad acts per episode, not discounted; nan: the world declares none"""
    bad_acts_monitored: float = NAN
    """those that the overseer gives a bad verdict with positive probability"""
    bad_acts_unmonitored: float = NAN
    """those that the overseer never gives a bad verdict"""
    bad_verdicts: float = NAN
    """expected bad verdicts per episode, false alarms included"""
    retained_return: float = NAN
    """discounted true return without the rewards of steps that are bad acts"""
    scale: float = NAN
    """scale of the forget experts that a measured deployment rule chose"""
    absorption: Mapping[str, float] = MappingProxyType({})
    """metric without `absorption/` -> value; the same in all rows of a run"""
    true_return_stderr: float = NAN
    """standard error of a true return that is estimated from sampled episodes; nan: it is exact"""
    dead_units: Mapping[str, float] = MappingProxyType({})
    """block -> share of its units whose output is the same for every observation; the same in all rows of a run"""


@dataclass(frozen=True)
class Results:
    """A sweep: its settings, the rows of its runs and their learning curves."""

    run_id: str
    name: str
    status: str
    started: float
    folder: Path
    params: Mapping[str, str]
    references: Mapping[Level, Reference]
    """level of the axis -> known returns; empty for a world that is too large to enumerate"""
    rows: tuple[Row, ...]
    curves: Mapping[str, Points] = field(repr=False)
    """run id -> (step, true return) pairs of its checkpoints"""
    reference_arm: str = ""
    """the arm that the others are compared with; empty if the sweep's settings cannot be read"""
    reused: int = 0
    """number of runs that are copies of earlier ones"""
    missing: tuple[str, ...] = ()
    """optional parts of the sweep and its runs that could not be made, each with its reason"""
    axis: Axis = OVERSIGHT_AXIS
    """what the sweep changes from level to level"""
    scales: Mapping[str, Mapping[str, Points]] = field(default_factory=dict, repr=False)
    """run id -> metric without `scale/` -> (scale of the forget experts, value) pairs; only runs that have them"""
    relearning: Mapping[str, Points] = field(default_factory=dict, repr=False)
    """run id -> (updates of fine-tuning, bad acts per episode) pairs; only runs that have them"""

    def level_of(self, row: Row) -> Level:
        """The row's level of the sweep's axis."""
        return oversight_level(row.oversight) if self.axis.is_oversight else self.axis.level(row.level)

    @property
    def finished(self) -> tuple[Row, ...]:
        """The rows with a result."""
        return tuple(row for row in self.rows if row.status == "FINISHED" and not math.isnan(row.true_return))

    @property
    def unfinished(self) -> tuple[Row, ...]:
        """One row of each run without a result."""
        rows = {row.run_id: row for row in self.rows if row not in self.finished}
        return tuple(rows.values())

    @property
    def blocks(self) -> list[str]:
        """The blocks that were ablated in at least one run."""
        return sorted({block for row in self.rows for block in row.without})

    @property
    def absorption_metrics(self) -> list[str]:
        """The metrics of absorption that at least one run has, in the order of their definition."""
        found = {name for row in self.rows for name in row.absorption}
        return [name for name in ABSORPTION_METRICS if name in found]

    @property
    def has_bad_acts(self) -> bool:
        """Whether a run has measured bad acts."""
        return any(not math.isnan(row.bad_acts) for row in self.rows)

    @property
    def label_price(self) -> float:
        """The price of a label in units of return; 0 if none was set."""
        return tag_number(self.params, "label_price", 0.0)


def read_results(store: Store, run_id: str) -> Results:
    """Read the sweep with this run id."""
    parent = store.client.get_run(run_id)
    children = last_attempts(child_runs(store, run_id))
    axis = _axis(parent, children)
    return Results(
        run_id=run_id,
        name=parent.info.run_name,
        status=parent.info.status,
        started=parent.info.start_time / 1000,
        folder=store.folder(parent),
        params=_params(parent),
        references=references(parent.data.params, axis),
        rows=tuple(row for child in children for row in run_rows(child)),
        curves={child.info.run_id: _points(store, child, CURVE) for child in children},
        reference_arm=_reference_arm(parent),
        reused=sum("reused_from" in child.data.tags for child in children),
        missing=_missing(parent, children),
        axis=axis,
        scales={child.info.run_id: scales for child in children if (scales := _scales(store, child))},
        relearning={
            child.info.run_id: _points(store, child, RELEARNING)
            for child in children
            if RELEARNING in child.data.metrics
        },
    )


def _scales(store: Store, run: Any) -> dict[str, Points]:
    """Return the metrics over the scale of the forget experts that a run has, by name without `scale/`."""
    names = [name for name in run.data.metrics if name.startswith(SCALE)]
    return {
        name.removeprefix(SCALE): tuple((step / SCALES, value) for step, value in _points(store, run, name))
        for name in names
    }


def _params(parent: Any) -> dict[str, str]:
    """Return the params of a sweep. MLflow keeps a param for ever, so the seeds of an extended sweep are in its tag."""
    try:
        seeds = {"seeds": str(json.loads(parent.data.tags[CONFIG])["seeds"])}
    except (KeyError, ValueError, TypeError):
        seeds = {}
    return {**parent.data.params, **seeds}


def _reference_arm(parent: Any) -> str:
    """Return the reference arm of a sweep's settings: the one set, or else the first of its methods."""
    try:
        settings = json.loads(parent.data.tags[CONFIG])
        return str(settings.get("reference") or settings["methods"][0])
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        return ""


def _axis(parent: Any, children: Iterable[Any]) -> Axis:
    """Returns the axis of a sweep's settings; if they cannot be read, that of its runs."""
    try:
        return parse_axis(text) if (text := json.loads(parent.data.tags[CONFIG]).get("axis")) else OVERSIGHT_AXIS
    except (KeyError, ValueError, TypeError, AttributeError):
        tags = [child.data.tags for child in children if child.data.tags.get("axis")]
    return Axis(tags[0]["axis"], tuple(dict.fromkeys(found.get("level", "") for found in tags))) if tags else Axis()


def _missing(parent: Any, children: Iterable[Any]) -> tuple[str, ...]:
    """List what the sweep lacks, then what its runs lack; runs with the same tag share an entry."""
    counts = Counter(child.data.tags[MISSING] for child in children if MISSING in child.data.tags)
    entries = [f"of {count} run{'s' * (count > 1)}: {parts}" for parts, count in counts.items()]
    return (*filter(None, [parent.data.tags.get(MISSING)]), *entries)


def find_sweep(store: Store, name: str | None, archived: bool = False, kinds: Sequence[str] = ("sweep",)) -> str:
    """Return the run id of a sweep, or of a study.

    Args:
        store: the store to search.
        name: run id, start of a run id, or name of the sweep; None for the newest.
        archived: whether to search the archived sweeps instead of the visible ones.
        kinds: "sweep", "study" or both.

    Raises:
        UserError: there is no such sweep, or several run ids start with `name`.
    """
    title = f"{ARCHIVED} {' or '.join(kinds)}" if archived else " or ".join(kinds)
    runs = [run for kind in kinds for run in search_runs(store, f"tags.kind = '{kind}'", archived)]
    return _select(store, title, sorted(runs, key=lambda run: -run.info.start_time), name).info.run_id


def find_run(store: Store, name: str | None) -> Any:
    """Return the MLflow run, a sweep or one of its runs, found as in `find_sweep`; None for the newest sweep."""
    if name is None:
        return _select(store, "sweep", search_runs(store, "tags.kind = 'sweep'"), None)
    return _select(store, "run", search_runs(store, ""), name)


def _select(store: Store, kind: str, runs: list[Any], name: str | None) -> Any:
    """Select a run by name from runs that are sorted newest first."""
    if not runs and kind.startswith(ARCHIVED):
        raise UserError(f"no {kind} in {store.name}")
    if not runs:
        compare = shell_command("compare", project=store.project)
        raise UserError(f"no {kind} in {store.name} yet; run {compare} or pass --mlruns DIR")
    if name is None:
        return runs[0]
    named = [run for run in runs if run.info.run_name == name]
    if named:
        return named[0]
    matches = [run for run in runs if name and run.info.run_id.startswith(name)]
    if len(matches) > 1:
        ids = ", ".join(run.info.run_id for run in matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise UserError(f"the ids of {len(matches)} {kind}s start with {name!r}; give more of the id: {ids}")
    if not matches:
        raise _unknown(kind, name, [run.info.run_name for run in runs])
    return matches[0]


def running_error(sweep: Any, advice: str) -> UserError:
    """Return the error that a sweep is running, with what to do about it; the caller raises it."""
    tags = sweep.data.tags
    owner = f"process {tags.get('pid')} on {tags.get('host')}"
    return UserError(f"sweep {sweep.info.run_name} is running ({owner}); {advice}")


def _unknown(kind: str, name: str, names: list[str]) -> UserError:
    newest = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return UserError(f"unknown {kind} {name!r}{nearest_hint(name, names)} (newest first: {newest})")


def last_attempts(children: Iterable[Any]) -> list[Any]:
    """Return the last attempt of each arm, level and seed, sorted by start time."""
    latest: dict[tuple, Any] = {}
    # of equal attempts the newest counts: a request to create a run can be repeated after a lost answer
    for child in sorted(children, key=lambda run: (tag_number(run.data.tags, "attempt", 1), run.info.start_time)):
        latest[tuple(child.data.tags.get(key) for key in ("method", *RUN_IDENTITY))] = child
    return sorted(latest.values(), key=lambda run: run.info.start_time)


def run_rows(run: Any) -> list[Row]:
    """Return the rows of one MLflow run: one for each deployment rule, or a single one if it recorded none.

    A run whose method was deleted in the MLflow UI has no row; an oversight level or seed that was, reads as nan or -1.
    """
    tags, metrics = run.data.tags, run.data.metrics
    arm = tags.get("arm") or tags.get("method")
    if not arm:
        return []
    rules = [rule for rule in tags.get("deployments", "").split(",") if rule] or [""]
    return [
        Row(
            row=arm if rule == rules[0] else f"{arm}/{rule}",
            method=arm,
            deployment=rule,
            leaky=rule in tags.get("leaky", "").split(",") if rule else False,
            oversight=tag_number(tags, "oversight", NAN),
            seed=int(tag_number(tags, "seed", -1)),
            status=run.info.status,
            true_return=metrics.get(f"selected/true_return/{rule}", NAN),
            seen=metrics.get(f"selected/true_return_seen/{rule}", NAN),
            unseen=metrics.get(f"selected/true_return_unseen/{rule}", NAN),
            selected_step=metrics.get(f"selected/step/{rule}", NAN),
            without={k.removeprefix(WITHOUT): v for k, v in metrics.items() if k.startswith(WITHOUT)},
            proxy_return=metrics.get("eval/proxy_return", NAN),
            labels_used=metrics.get("oversight/labels_used", NAN),
            exactness=tags.get("exactness", ""),
            run_id=run.info.run_id,
            error=tags.get("error", ""),
            axis=tags.get("axis") or OVERSIGHT,
            level=tags.get("level", "") if tags.get("axis") else f"{tag_number(tags, 'oversight', NAN):g}",
            overseer=tags.get("overseer", ""),
            audits=tag_number(tags, "audits", NAN),
            evaluation={name: value for name, value in metrics.items() if name.startswith("eval/")},
            **{name: metrics.get(f"selected/{name}/{rule}", NAN) for name in BAD_ACTS},
            absorption={k.removeprefix(ABSORPTION): v for k, v in metrics.items() if k.startswith(ABSORPTION)},
            true_return_stderr=metrics.get(f"selected/true_return_stderr/{rule}", NAN),
            dead_units={k.removeprefix(DEAD_UNITS): v for k, v in metrics.items() if k.startswith(DEAD_UNITS)},
        )
        for rule in rules
    ]


def tag_number(tags: Mapping[str, str], name: str, default: float) -> float:
    """Return a tag as a number; the default if it was deleted or is not a finite number, since users can edit tags."""
    try:
        number = float(tags[name])
    except (KeyError, ValueError):
        return default
    return number if math.isfinite(number) else default


def search_runs(store: Store, condition: str, archived: bool = False) -> list[Any]:
    """Return every MLflow run that meets a condition in MLflow's filter syntax, newest first.

    Args:
        store: the store to search.
        condition: the condition; empty for every run.
        archived: whether to search archived runs instead of the visible ones.
    """
    from mlflow.entities import ViewType

    if archived:
        condition = " and ".join(filter(None, [condition, f"tags.{ARCHIVED} != ''"]))
    view = ViewType.DELETED_ONLY if archived else ViewType.ACTIVE_ONLY
    runs, token = [], None
    while True:
        page = store.client.search_runs([store.experiment], condition, view, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def child_runs(store: Store, run_id: str, archived: bool = False) -> list[Any]:
    """Return the MLflow runs of a sweep, either the visible or the archived ones."""
    return search_runs(store, f"tags.`{PARENT}` = '{run_id}'", archived)


def _points(store: Store, run: Any, metric: str) -> Points:
    """Return the (step, value) pairs of a metric of a run."""
    history = store.client.get_metric_history(run.info.run_id, metric)
    return tuple(sorted((point.step, point.value) for point in history))
