"""Certificates of a sweep's worlds: a few numbers of each are params of its MLflow run, the whole is an artifact.

The true return that a method loses has three parts. No reward on what the overseer sees could have prevented the first
(unenforceable: optimum less enforceable); a better reward could have prevented the second (misspecified: enforceable
less naive optimum); the rest is the method's own, and negative where it beats the optimum of the naive reward.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flows.errors import UserError

PREFIX = "certificate."


class Reference(NamedTuple):
    """What is known of a world before training, true returns all."""

    optimal_return: float
    enforceable_return: float  # under the worst of the plans that the best reward leaves equally good
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
    """The numbers that a sweep keeps of the certificate at one oversight level."""
    return {f"{PREFIX}{oversight:g}.{name}": certificate[name] for name in Reference._fields}


def certificate_path(folder: Path, oversight: float) -> Path:
    """Where a sweep keeps the whole of it."""
    return folder / f"certificate-{oversight:g}.json"


def references(kept: Mapping[str, str]) -> dict[float, Reference]:
    """Oversight level -> what the params of a sweep say of it."""
    values: dict[float, dict[str, Any]] = {}
    for key, text in kept.items():
        if key.startswith(PREFIX):
            level, _, name = key.removeprefix(PREFIX).rpartition(".")
            value = text == "True" if name == "enforceable_is_exact" else float(text)
            values.setdefault(float(level), {})[name] = value
    return {level: Reference(**values[level]) for level in sorted(values)}


def certificate_of(env: str, arguments: dict[str, Any]) -> Any:
    """The certificate of a world; raises UserError if it cannot be built or is too large to enumerate."""
    from envs import NotEnumerable
    from envs.certificate.certify import certify
    from flows.environments import make_env

    try:
        return certify(make_env(env, arguments, copies=1))
    except (NotEnumerable, ValueError) as reason:
        raise UserError(f"no certificate of {env}: {' '.join(str(reason).split())}") from None
