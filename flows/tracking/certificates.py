"""The certificates of a sweep: a few numbers are params of its MLflow run, the whole certificate is an artifact.

The regret of a method has three parts. Unenforceable regret (optimum minus enforceable return) is the part that no
reward on overseer observations can avoid. Misspecified regret (enforceable return minus naive optimum) is the part
that a better reward can avoid. The rest is the method's own, and negative if it beats the optimum of the naive reward.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flows.errors import UserError

PREFIX = "certificate."


class Reference(NamedTuple):
    """True returns of a world that are known before training."""

    optimal_return: float
    enforceable_return: float  # under worst ties
    enforceable_return_uniform_ties: float
    naive_optimum_return: float
    enforceable_is_exact: bool  # else a lower bound

    @property
    def unenforceable(self) -> float:
        return self.optimal_return - self.enforceable_return

    @property
    def misspecified(self) -> float:
        return self.enforceable_return - self.naive_optimum_return


def certificate_params(oversight: float, certificate: Mapping[str, Any]) -> dict[str, Any]:
    """The params that a sweep logs for the certificate of one oversight level."""
    return {f"{PREFIX}{oversight:g}.{name}": certificate[name] for name in Reference._fields}


def certificate_path(folder: Path, oversight: float) -> Path:
    """The file of the certificate of one oversight level in a sweep's artifact folder."""
    return folder / f"certificate-{oversight:g}.json"


def references(params: Mapping[str, str]) -> dict[float, Reference]:
    """Reads the references of a sweep from its params, by oversight level."""
    values: dict[float, dict[str, Any]] = {}
    for key, text in params.items():
        if key.startswith(PREFIX):
            level, _, name = key.removeprefix(PREFIX).rpartition(".")
            value = text == "True" if name == "enforceable_is_exact" else float(text)
            values.setdefault(float(level), {})[name] = value
    return {level: Reference(**values[level]) for level in sorted(values)}


def certificate_of(env: str, arguments: dict[str, Any]) -> Any:
    """Computes the certificate of a world.

    Args:
        env: Gymnasium id.
        arguments: Arguments of the environment.

    Returns:
        The `envs.certificate.Certificate`.

    Raises:
        UserError: The environment cannot be built, has no tables or fails its checks.
    """
    from envs import NotEnumerable
    from envs.certificate.certify import certify
    from flows.environments import make_env

    try:
        return certify(make_env(env, arguments, copies=1))
    except (NotEnumerable, ValueError) as error:
        raise UserError(f"no certificate of {env}: {' '.join(str(error).split())}") from None
