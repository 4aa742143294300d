"""The best agent of each method in a sweep is a registered MLflow model, `keyhole-<world>-<method>`.

Best is by the exact or sampled true return of what the method's first deployment rule selected: a choice that no
overseer could make, as the tag `chosen_by` says. A model is an agent.zip and its description; it holds no code.
"""

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import agents
from flows.text import markdown_code
from flows.tracking.pyfunc import PARAMS
from flows.tracking.results import Results, Row
from flows.tracking.store import Store

AGENT = "agent.zip"
MODEL = "model"  # folder in that of its run
NAME = re.compile(r"[\w.+-]+")  # of our models: nothing that could end the quotes of a query
TYPES = {str: "string", bool: "boolean", int: "long"}


def register_models(store: Store, results: Results) -> dict[str, str]:
    """Registers the best agent of each method of a sweep; method -> version as "name/number".

    A run whose agent.zip holds no agent is passed over.
    """
    made: dict[str, str] = {}
    for row in best_rows(results):
        run = store.client.get_run(row.run_id)
        folder = store.folder(run)
        if (folder / AGENT).exists():
            try:
                agent = agents.load(folder / AGENT)
            except agents.BadAgentError:
                continue
            made[row.method] = _version(store, results, row, run, _described(folder, agent))
    return made


def best_rows(results: Results) -> list[Row]:
    """The row with the highest true return of each method, as first deployed; the highest of all first."""
    found: dict[str, Row] = {}
    for row in sorted(results.finished, key=lambda row: -row.true_return):
        if row.row == row.method:
            found.setdefault(row.method, row)
    return list(found.values())


def find_model(store: Store, name: str) -> Path | None:
    """The agent.zip of a registered model, `name` or `name/version`, by default the newest; None: there is none."""
    model, _, wanted = name.removeprefix("models:/").partition("/")
    versions = _versions(store, model)
    wanted = wanted or max(versions, key=int, default="")
    return store.folder(store.client.get_run(versions[wanted].run_id)) / MODEL / AGENT if wanted in versions else None


def _versions(store: Store, name: str) -> dict[str, Any]:
    """The versions of a registered model by number; none for a name that no model can have."""
    if not NAME.fullmatch(name):
        return {}
    return {str(version.version): version for version in store.client.search_model_versions(f"name = '{name}'")}


def _version(store: Store, results: Results, row: Row, run: Any, model: Path) -> str:
    """Registers what is in the folder `model`."""
    name = re.sub(r"[^\w.+-]", "-", f"keyhole-{world_name(run.data.params['env'])}-{row.method}")
    known = _versions(store, name)
    for number, version in known.items():
        if version.run_id == row.run_id:  # of a sweep that went on and ended once more
            return f"{name}/{number}"
    if not known:
        _create_model(store, name, {"env": run.data.params["env"], "method": row.method})
    kept = {name: run.data.tags[name] for name in ("knowledge", "certificate") if name in run.data.tags}
    tags = {
        **kept,
        "sweep": results.name,
        "oversight": f"{row.oversight:g}",
        "seed": str(row.seed),
        "deployment": row.deployment,
        "true_return": f"{row.true_return:.6g}",
        "exactness": row.exactness,
        "chosen_by": "true return, which no overseer knows",
    }
    value = f"true return {row.true_return:.3f} ({row.exactness})"
    told = f"The best of {row.method} in the sweep {markdown_code(results.name)}: {value}."
    store.artifacts.upload(row.run_id, model, MODEL)
    source = store.artifacts.source(run.info, model)
    version = store.client.create_model_version(name, source, row.run_id, tags=tags, description=told)
    return f"{name}/{version.version}"


def _create_model(store: Store, name: str, tags: dict[str, str]) -> None:
    """Sees to it that there is a registered model of that name, if still without a version."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name, tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def world_name(env: str) -> str:
    """A world's id as a part of a model's name: ours without what they have in common."""
    return re.sub(r"[^\w.+-]", "-", env.removeprefix("envs:").removeprefix("keyhole/"))


def _described(folder: Path, agent: agents.Agent) -> Path:
    """A folder beside the run's other files, with the agent and what MLflow needs to know of it."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of type hints of its own
        import mlflow.pyfunc
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    model = folder / MODEL
    model.mkdir(exist_ok=True)
    shutil.copyfile(folder / AGENT, model / AGENT)
    space = agent.policy.observation_space
    seen = Schema([TensorSpec(np.dtype(space.dtype), (-1, *space.shape))])  # type: ignore[misc]
    done = Schema([TensorSpec(np.dtype(np.int64), (-1,))])
    params = ParamSchema([ParamSpec(name, TYPES[type(value)], value) for name, value in PARAMS.items()])
    description = Model(signature=ModelSignature(seen, done, params))
    mlflow.pyfunc.add_to_model(description, loader_module="flows.tracking.pyfunc", data=AGENT)
    description.save(str(model / "MLmodel"))
    return model
