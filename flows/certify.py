"""Prefect flow that certifies a world; the certificate becomes a Prefect artifact."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.config import EnvironmentId
from flows.tracking.certificates import certificate_of

WORLD = "envs:keyhole/DiamondGhost-v0"


@flow(name="certify", flow_run_name="certify {env}")
def certify(env: EnvironmentId = WORLD, env_kwargs: dict[str, Any] | None = None) -> str:
    """Computes what an overseer of this world can enforce, without training; returns the certificate as JSON.

    Args:
        env: Gymnasium id, prefixed with "module:" if a module must be imported to register it.
        env_kwargs: Arguments of the environment, including oversight_prob.
    """
    from envs.certificate.report import certificate_text

    certificate = certificate_of(env, env_kwargs or {})
    text = certificate_text(certificate)
    create_markdown_artifact(f"```\n{text}\n```", key="certificate", description=env)
    get_run_logger().info("%s\n%s", env, text)
    return certificate.to_json()
