"""The certificates of a sweep: a few numbers are params of its MLflow run, the whole certificate is an artifact.

The regret of a method has three parts. Unenforceable regret (optimum minus enforceable return) is the part that no
reward on overseer observations can avoid. Misspecified regret (enforceable return minus naive optimum) is the part
that a better reward can avoid. The rest is the method's own, and negative if it beats the optimum of the naive reward.
One tie rule holds for all parts: ties among optimal plans are broken to the worst true return, or uniformly for sweeps
whose params lack the naive optimum under worst ties.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from flows.axis import OVERSIGHT_AXIS, Axis, Level, oversight_level
from flows.errors import UserError

PREFIX = "certificate."
ROUNDING = 1e-9  # a regret that exceeds a limit by less is within it


class Reference(NamedTuple):
    """True returns of a world that are known before training."""

    optimal_return: float
    enforceable_return: float  # under worst ties
    enforceable_return_uniform_ties: float
    naive_optimum_return: float
    enforceable_is_exact: bool  # else a lower bound
    naive_optimum_return_worst_ties: float = math.nan  # nan in sweeps of earlier versions
    agent_class: str = ""  # the class of agents of all but the optimum; empty in sweeps of earlier versions

    @property
    def tie_rule(self) -> str:
        """The rule that breaks ties among optimal plans in the regrets."""
        return "uniform ties" if math.isnan(self.naive_optimum_return_worst_ties) else "worst ties"

    @property
    def enforceable(self) -> float:
        """The enforceable return under `tie_rule`."""
        return self.enforceable_return if self.tie_rule == "worst ties" else self.enforceable_return_uniform_ties

    @property
    def naive_optimum(self) -> float:
        """The true return of the naive optimum under `tie_rule`."""
        return self.naive_optimum_return_worst_ties if self.tie_rule == "worst ties" else self.naive_optimum_return

    @property
    def unenforceable(self) -> float:
        """The regret that no reward on overseer observations avoids."""
        return self.optimal_return - self.enforceable

    @property
    def misspecified(self) -> float:
        """The regret that a better reward than the naive one avoids."""
        return self.enforceable - self.naive_optimum


def certificate_params(level: Level, certificate: Mapping[str, Any]) -> dict[str, Any]:
    """The params that a sweep logs for the certificate of one level."""
    return {f"{PREFIX}{level.key}.{name}": certificate[name] for name in Reference._fields if name in certificate}


def certificate_path(folder: Path, level: Level, changes: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """The file of a certificate in a sweep's artifact folder.

    Args:
        folder: The artifact folder.
        level: The level of the sweep's axis.
        changes: The arguments of the environment in which an arm differs from the sweep.
    """
    text = "".join(f"@{name}={value}" for name, value in sorted(changes.items()))
    if not re.fullmatch(r"[\w.=@+-]{0,100}", text):
        text = "@" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return folder / f"certificate-{level.key}{text}.json"


def read_certificate(folder: Path, level: Level, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Reads the certificate of a world from a sweep's artifact folder; None if the sweep has none."""
    path = certificate_path(folder, level, changes)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def references(params: Mapping[str, str], axis: Axis = OVERSIGHT_AXIS) -> dict[Level, Reference]:
    """Reads the references of a sweep from its params, by level of its axis, lowest first.

    Params of another version may have other fields: unknown ones are ignored, a level that lacks one is left out.
    """
    values: dict[Level, dict[str, Any]] = {}
    for param, text in params.items():
        key, _, name = param.removeprefix(PREFIX).rpartition(".")
        if param.startswith(PREFIX) and name in Reference._fields:
            with suppress(ValueError):  # a level or value of another form
                values.setdefault(_level(axis, key), {})[name] = _parse(name, text)
    required = set(Reference._fields) - Reference._field_defaults.keys()
    complete = [level for level in sorted(values) if required <= values[level].keys()]
    return {level: Reference(**values[level]) for level in complete}


def _level(axis: Axis, key: str) -> Level:
    """The level with this key; raises ValueError if the axis has none."""
    if axis.is_oversight:
        return oversight_level(float(key))
    return axis.levels[[level.key for level in axis.levels].index(key)]


def _parse(name: str, text: str) -> Any:
    """The value of a param, which MLflow stores as text."""
    if name == "enforceable_is_exact":
        return text == "True"
    return text if name == "agent_class" else float(text)


class RegretCheck(NamedTuple):
    """Whether the unenforceable regret of a world is within a limit."""

    limit: float
    regret: float
    bound: str
    """exact or upper bound"""

    @property
    def within(self) -> bool:
        """Whether the regret is shown to be at most the limit, up to rounding."""
        return self.regret <= self.limit + ROUNDING

    def __str__(self) -> str:
        exact = self.bound == "exact"
        found = f"{'' if exact else 'at most '}{self.regret:.4g} ({self.bound})"
        if self.within:
            return f"unenforceable regret {found} is within --max-regret {self.limit:g}"
        if exact:
            return f"unenforceable regret {found} exceeds --max-regret {self.limit:g}"
        return f"unenforceable regret {found} cannot be shown to be within --max-regret {self.limit:g}"


def check_regret(certificate: Any, limit: float) -> RegretCheck:
    """Compares the unenforceable regret of a certificate, worst ties, with a limit.

    Where the enforceable return is a lower bound, the regret is an upper bound. A world passes if the bound does; a
    bound that exceeds the limit fails, because nothing shows that the regret itself is within it.
    """
    return RegretCheck(limit, certificate.regret.unenforceable, certificate.bounds["regret.unenforceable"])


def certificate_of(env: str, arguments: dict[str, Any], reveals: bool = False) -> Any:
    """Computes the certificate of a world.

    Args:
        env: Gymnasium id.
        arguments: Arguments of the environment.
        reveals: Whether to compute which state variable, shown to the overseer, would raise the enforceable return.

    Returns:
        The `envs.certificate.Certificate`.

    Raises:
        UserError: The environment cannot be built, has no tables or fails its checks.
    """
    from envs import NotEnumerable
    from envs.certificate.certify import certify
    from flows.environments import make_env

    try:
        return certify(make_env(env, arguments, copies=1), reveals=reveals)
    except (NotEnumerable, ValueError) as error:
        raise UserError(f"no certificate of {env}: {' '.join(str(error).split())}") from None
