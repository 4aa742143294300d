"""The Prefect flow that computes the certificate of a world and publishes it as an artifact."""

import os
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows import search_path
from flows.config import EnvironmentId
from flows.errors import RegretExceededError
from flows.tracking.certificates import certificate_of, check_regret

WORLD = "envs:keyhole/DiamondGhost-v0"
Regret = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@flow(name="certify", flow_run_name="certify {env}")
def certify(
    env: EnvironmentId = WORLD,
    env_kwargs: dict[str, Any] | None = None,
    max_regret: Regret | None = None,
    reveal: bool = False,
) -> str:
    """Computes what an overseer of a world can enforce, before any training.

    Args:
        env: Gymnasium id, prefixed with "module:" if the module must be imported first.
        env_kwargs: Arguments of the environment, including oversight_prob.
        max_regret: The flow fails if the unenforceable regret is not shown to be within this limit; unset: no limit.
        reveal: Also compute which state variable, shown to the overseer, would raise the enforceable return.

    Returns:
        The certificate as JSON.

    Raises:
        UserError: The environment cannot be built, has no tables or fails its checks.
        RegretExceededError: The unenforceable regret is not shown to be within `max_regret`.
    """
    search_path.append_folder(os.getcwd())
    from envs.certificate.report import certificate_text

    certificate = certificate_of(env, env_kwargs or {}, reveal)
    text = certificate_text(certificate)
    create_markdown_artifact(f"```\n{text}\n```", key="certificate", description=env)
    get_run_logger().info("%s\n%s", env, text)
    if max_regret is not None:
        check = check_regret(certificate, max_regret)
        if not check.within:
            raise RegretExceededError(str(check))
        get_run_logger().info("%s", check)
    return certificate.to_json()
