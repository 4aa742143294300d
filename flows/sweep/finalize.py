"""Tags a finished sweep with its certificates' hashes and best run, and registers the best agents.

The hash of a certificate is the SHA-256 of its JSON with sorted keys and no spaces. A sweep is tagged with one hash for
each oversight level, a run with that of its own level. Results of two sweeps are comparable where the hashes are equal.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from flows import arms
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
    model_registry.register_models(store, comparison.results, missing)
    if missing:
        store.client.set_tag(run_id, MISSING, str(missing))
    elif MISSING in store.client.get_run(run_id).data.tags:  # of an earlier try
        store.client.delete_tag(run_id, MISSING)
    return comparison


def tag_sweep(store: Store, found: results.Results) -> None:
    """Tags a sweep with its certificates' hashes and best run, and its runs with the hash of their certificate."""
    hashes = certificate_hashes(found)
    tags = {f"{certificates.PREFIX}{level:g}": digest for level, digest in hashes.items()}
    best = next((row for row in model_registry.best_rows(found) if not row.leaky), None)
    if best:
        tags["best"] = f"{best.row} {best.true_return:.3f} (p={best.oversight:g})"
    for name, value in tags.items():
        store.client.set_tag(found.run_id, name, value)
    for run, level in {row.run_id: row.oversight for row in found.rows if in_sweep_world(row)}.items():
        if level in hashes:
            store.client.set_tag(run, "certificate", hashes[level])


def in_sweep_world(row: results.Row) -> bool:
    """Returns whether the run's world is the certified one: its arm changes no argument."""
    return not arms.parse_arm(row.method).env_kwargs


def certificate_hashes(found: results.Results) -> dict[float, str]:
    """Maps oversight levels to the hashes of the sweep's certificates."""
    paths = {
        level: certificates.certificate_path(found.folder, level) for level in {row.oversight for row in found.rows}
    }
    return {level: digest(json.loads(path.read_text())) for level, path in sorted(paths.items()) if path.exists()}


def digest(certificate: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of the canonical JSON, in hexadecimal."""
    canonical = json.dumps(certificate, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
