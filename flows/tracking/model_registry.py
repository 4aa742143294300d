"""Registers the best agent of each method in a sweep as an MLflow model, `keyhole-<world>-<method>`.

The best agent has the highest true return, exact or sampled, of the policy that the method's first deployment rule
selects. No overseer can make this choice; the tag `chosen_by` says so. A model is an agent.zip with a description and
holds no code.
"""

import logging
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Dict

from flows.text import markdown_code, one_line
from flows.tracking.missing import Missing
from flows.tracking.pyfunc import PARAMS
from flows.tracking.results import Results, Row
from flows.tracking.store import Store

if TYPE_CHECKING:
    import agents

AGENT = "agent.zip"
MODEL = "model"  # subfolder of the run's artifact folder
NAME = re.compile(r"[\w.+-]+")  # excludes quotes, which would end the string in an MLflow query
log = logging.getLogger(__name__)
TYPES = {str: "string", bool: "boolean", int: "long"}  # Python type -> MLflow's name


def register_models(store: Store, results: Results, missing: Missing) -> dict[str, str]:
    """Register the best agent of each method of a sweep; a run whose agent.zip is not a keyhole agent is skipped.

    Args:
        store: the store that holds the model registry.
        results: the sweep.
        missing: receives the models that cannot be registered.

    Returns:
        Method -> registered version as "name/number".
    """
    import agents  # imports torch, which a report does not need

    registered: dict[str, str] = {}
    for row in best_rows(results):
        with missing.part(f"registered model of {row.method}"):
            run = store.client.get_run(row.run_id)
            folder = store.folder(run)
            if (folder / AGENT).exists():
                try:
                    agent = agents.load(folder / AGENT)
                except agents.BadAgentError as error:  # a trainer of the user's may write another format
                    log.info("run %s: its agent is not registered: %s", row.run_id, one_line(error))
                    continue
                model = _write_model(folder, agent)
                registered[row.method] = _register_version(store, results, row, run, model)
    return registered


def best_rows(results: Results) -> list[Row]:
    """Return each method's row with the highest true return under its first deployment rule, best first."""
    best: dict[str, Row] = {}
    for row in sorted(results.finished, key=lambda row: -row.true_return):
        if row.row == row.method:
            best.setdefault(row.method, row)
    return list(best.values())


def find_model(store: Store, name: str) -> Path | None:
    """Return the agent.zip of a registered model, or None if there is no such model.

    Args:
        store: the store that holds the model registry.
        name: `name` or `name/version`, by default the newest version.
    """
    model, _, number = name.removeprefix("models:/").partition("/")
    versions = _versions(store, model)
    number = number or max(versions, key=int, default="")
    return store.folder(store.client.get_run(versions[number].run_id)) / MODEL / AGENT if number in versions else None


def _versions(store: Store, name: str) -> dict[str, Any]:
    """Return the versions of a registered model by number; empty for a name that no model of ours can have."""
    if not NAME.fullmatch(name):
        return {}
    return {str(version.version): version for version in store.client.search_model_versions(f"name = '{name}'")}


def _register_version(store: Store, results: Results, row: Row, run: Any, model: Path) -> str:
    """Register the content of the folder `model`; return "name/number"."""
    name = re.sub(r"[^\w.+-]", "-", f"keyhole-{world_name(run.data.params['env'])}-{row.method}")
    versions = _versions(store, name)
    for number, version in versions.items():
        if version.run_id == row.run_id:  # the sweep was resumed and has ended a second time
            return f"{name}/{number}"
    if not versions:
        _create_model(store, name, {"env": run.data.params["env"], "method": row.method})
    run_tags = {name: run.data.tags[name] for name in ("knowledge", "certificate") if name in run.data.tags}
    axis = {} if results.axis.is_oversight else {"axis": row.axis, "level": row.level}
    tags = {
        **run_tags,
        "sweep": results.name,
        "oversight": f"{row.oversight:g}",
        **axis,
        "seed": str(row.seed),
        "deployment": row.deployment,
        "true_return": f"{row.true_return:.6g}",
        "exactness": row.exactness,
        "chosen_by": "true return, which no overseer can observe",
    }
    value = f"true return {row.true_return:.3f} ({row.exactness})"
    description = f"The best agent of {row.method} in the sweep {markdown_code(results.name)}: {value}."
    store.artifacts.upload(row.run_id, model, MODEL)
    source = store.artifacts.source(run.info, model)
    version = store.client.create_model_version(name, source, row.run_id, tags=tags, description=description)
    return f"{name}/{version.version}"


def _create_model(store: Store, name: str, tags: dict[str, str]) -> None:
    """Create a registered model without versions, unless it exists."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name, tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def world_name(env: str) -> str:
    """Return an environment's id as part of a model's name; the prefix `keyhole/` is dropped."""
    return re.sub(r"[^\w.+-]", "-", env.removeprefix("envs:").removeprefix("keyhole/"))


def _write_model(folder: Path, agent: "agents.Agent") -> Path:
    """Write the agent and MLflow's description of it to a subfolder of the run's folder; return the subfolder."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # MLflow warns about its own type hints
        import mlflow.pyfunc
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    model = folder / MODEL
    model.mkdir(exist_ok=True)
    shutil.copyfile(folder / AGENT, model / AGENT)
    space, actions = agent.policy.observation_space, agent.policy.action_space
    parts: list[tuple[str | None, Any]] = [*space.spaces.items()] if isinstance(space, Dict) else [(None, space)]
    inputs = Schema([TensorSpec(part.dtype, (-1, *part.shape), name) for name, part in parts])
    outputs = Schema([TensorSpec(np.dtype(actions.dtype), (-1, *actions.shape))])  # type: ignore[misc]
    params = ParamSchema([ParamSpec(name, TYPES[type(value)], value) for name, value in PARAMS.items()])
    description = Model(signature=ModelSignature(inputs, outputs, params))
    mlflow.pyfunc.add_to_model(description, loader_module="flows.tracking.pyfunc", data=AGENT)
    description.save(str(model / "MLmodel"))
    return model
