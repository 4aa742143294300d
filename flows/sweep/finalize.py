"""Tags a finished sweep with its certificates' hashes and best run, logs its metrics, and registers the best agents.

The hash of a certificate is the SHA-256 of its JSON with sorted keys and no spaces. A sweep is tagged with one hash for
each level, a run with that of its own level. Results of two sweeps are comparable where the hashes are equal.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from flows import arms
from flows.axis import Level
from flows.reporting import report
from flows.reporting.aggregate import Comparison, compare_rows
from flows.tracking import certificates, model_registry, results
from flows.tracking.missing import MISSING, Missing
from flows.tracking.store import Store


def finalize(store: Store, run_id: str, missing: Missing) -> Comparison:
    """Writes the report of a sweep, tags it and its runs, and registers the best agents.

    Args:
        store: The store of the sweep.
        run_id: Its run id.
        missing: Receives what cannot be made. It becomes the sweep's tag `missing`; the sweep keeps its numbers.

    Returns:
        The comparison table.
    """
    comparison = compare_rows(results.read_results(store, run_id))
    report.write_report(store, comparison, missing)
    with missing.part("tags of certificates and best run"):
        tag_sweep(store, comparison.results)
    with missing.part("metrics of the sweep"):
        log_sweep_metrics(store, comparison.results)
    model_registry.register_models(store, comparison.results, missing)
    if missing:
        store.client.set_tag(run_id, MISSING, str(missing))
    elif MISSING in store.client.get_run(run_id).data.tags:  # of an earlier try
        store.client.delete_tag(run_id, MISSING)
    return comparison


def tag_sweep(store: Store, found: results.Results) -> None:
    """Tags a sweep with its certificates' hashes and best run, and its runs with the hash of their certificate."""
    hashes = certificate_hashes(found)
    tags = {f"{certificates.PREFIX}{level.key}": digest for level, digest in hashes.items()}
    if best := best_row(found):
        tags["best"] = f"{best.row} {best.true_return:.3f} ({found.level_of(best)})"
    for name, value in tags.items():
        store.client.set_tag(found.run_id, name, value)
    for run, level in {row.run_id: found.level_of(row) for row in found.rows if in_sweep_world(row)}.items():
        if level in hashes:
            store.client.set_tag(run, "certificate", hashes[level])


def best_row(found: results.Results) -> results.Row | None:
    """Returns the row with the highest true return under a rule that reads nothing leaky."""
    return next((row for row in model_registry.best_rows(found) if not row.leaky), None)


def log_sweep_metrics(store: Store, found: results.Results) -> None:
    """Logs the metrics of a sweep that have changed, for MLflow's list and charts."""
    known = store.client.get_run(found.run_id).data.metrics
    for name, value in sweep_metrics(found).items():
        if known.get(name) != value:
            store.client.log_metric(found.run_id, name, value)


def sweep_metrics(found: results.Results) -> dict[str, float]:
    """Returns the best true return, if a run has one, and the numbers of runs: all, with a result, failed."""
    statuses = {row.run_id: row.status for row in found.rows}
    counts = {
        "sweep/runs": len(statuses),
        "sweep/finished": len(statuses) - len(found.unfinished),
        "sweep/failed": sum(status == "FAILED" for status in statuses.values()),
    }
    best = best_row(found)
    return {**counts, **({results.CURVE: best.true_return} if best else {})}


def in_sweep_world(row: results.Row) -> bool:
    """Returns whether the run's world is the certified one: its arm changes no argument."""
    return not arms.parse_arm(row.method).env_kwargs


def certificate_hashes(found: results.Results) -> dict[Level, str]:
    """Maps levels to the hashes of the sweep's certificates."""
    paths = {
        level: certificates.certificate_path(found.folder, level) for level in set(map(found.level_of, found.rows))
    }
    return {level: digest(json.loads(path.read_text())) for level, path in sorted(paths.items()) if path.exists()}


def digest(certificate: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of the canonical JSON, in hexadecimal."""
    canonical = json.dumps(certificate, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
