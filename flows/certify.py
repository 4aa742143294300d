"""The Prefect flow that computes the certificate of a world and publishes it as an artifact."""

import os
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows import search_path
from flows.config import EnvironmentId
from flows.tracking.certificates import certificate_of

WORLD = "envs:keyhole/DiamondGhost-v0"


@flow(name="certify", flow_run_name="certify {env}")
def certify(env: EnvironmentId = WORLD, env_kwargs: dict[str, Any] | None = None) -> str:
    """Computes what an overseer of a world can enforce, before any training.

    Args:
        env: Gymnasium id, prefixed with "module:" if the module must be imported first.
        env_kwargs: Arguments of the environment, including oversight_prob.

    Returns:
        The certificate as JSON.

    Raises:
        UserError: The environment cannot be built, has no tables or fails its checks.
    """
    search_path.append_folder(os.getcwd())
    from envs.certificate.report import certificate_text

    certificate = certificate_of(env, env_kwargs or {})
    text = certificate_text(certificate)
    create_markdown_artifact(f"```\n{text}\n```", key="certificate", description=env)
    get_run_logger().info("%s\n%s", env, text)
    return certificate.to_json()
