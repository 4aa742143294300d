"""Reads the manifest of an agent file: names, types and ranges of all values are checked before any is used.

Nothing is built here, and no memory is allocated in proportion to a number in the manifest.
"""

import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import gymnasium

from agents.memory import LSTM, parse_memory
from agents.policies.architecture import HEADS, LEVELS, MAX_EXPERTS, NETWORKS, Architecture
from agents.policies.blocks import ACTIVATIONS, PRECISIONS, BlockUse
from agents.policies.extractors import EXTRACTORS
from routing.errors import unknown_name
from routing.oversight.composition import WHOLE

ACTIVATION_CLASSES = {kind.__name__: kind for kind in ACTIVATIONS.values()}
FIELDS = ("env", "world", "method", "deployments", "facts", "network", "observation_space", "action_space")
NETWORK = ("widths", "activation", "network", "experts", "head", "level", "precision")
MEMORY = "memory"  # entry of a network whose blocks have an LSTM each
OLD_NETWORK = ("widths", "activation", "gated", "level", "precision")  # of two experts under a shared head
OLD_LEVELS = (*LEVELS, "adapter")
NETS = ("pi", "vf")  # the names of the actor's and the critic's widths in Stable-Baselines3
MAX_LAYERS, MAX_WIDTH = 16, 2**16
MAX_RULES = 100
MAX_NAME = 200  # characters
MAX_SCALE = 1e6  # of an expert's output; float32 overflows at 3e38
MAKE_VEC = frozenset(  # arguments of Gymnasium's function that makes a world, which are not the world's
    name
    for name, parameter in inspect.signature(gymnasium.make_vec).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
)


class Description(NamedTuple):
    """The content of a manifest."""

    env: str
    world: dict[str, Any]
    method: str
    deployments: dict[str, BlockUse]
    facts: dict[str, Any]
    network: dict[str, Any]
    """keyword arguments of `BlockPolicy`"""
    observation_space: Mapping[str, Any]
    """plain data; see `agents.saving.spaces`"""
    action_space: Mapping[str, Any]


def parse_manifest(manifest: Mapping[str, Any]) -> Description:
    """Check the values of a manifest, which are JSON values.

    Raises:
        ValueError: an entry is missing, unknown, of the wrong type or out of range.
    """
    check_keys("the manifest", manifest, FIELDS)
    network = _network(manifest["network"])
    return Description(
        env=_name("env", manifest["env"]),
        world=_world(manifest["world"]),
        method=_name("method", manifest["method"]),
        deployments=_deployments(manifest["deployments"], _checked_architecture(network)),
        facts=of_type("facts", manifest["facts"], dict),
        network=network,
        observation_space=of_type("observation_space", manifest["observation_space"], dict),
        action_space=of_type("action_space", manifest["action_space"], dict),
    )


def of_type(name: str, value: Any, kind: type) -> Any:
    """Return value if its type is exactly `kind`; raises ValueError otherwise."""
    if type(value) is not kind:
        raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def check_keys(name: str, value: Any, keys: Collection[str]) -> None:
    """Raise ValueError unless value is a dictionary with exactly these keys."""
    of_type(name, value, dict)
    for key in (*keys, *value):
        if key not in value:
            raise ValueError(f"{name} lacks {key!r}")
        if key not in keys:
            raise ValueError(f"{name} has an unknown entry {key[:40]!r}")


def integer(name: str, value: Any, least: int, largest: int) -> int:
    """Return value if it is an integer in this range; raises ValueError otherwise."""
    if not least <= of_type(name, value, int) <= largest:
        raise ValueError(f"{name} is {value}, not in {least} .. {largest}")
    return value


def one_of(name: str, value: Any, known: Collection[str]) -> Any:
    """Return value if it is one of these names; raises ValueError otherwise."""
    if of_type(name, value, str) not in known:
        raise unknown_name(name, value[:40], known)
    return value


def _name(name: str, value: Any) -> str:
    if not 0 < len(of_type(name, value, str)) <= MAX_NAME or not value.isprintable():
        raise ValueError(f"{name} {value[:40]!r} is not a name: it needs 1 to {MAX_NAME} printable characters")
    return value


def _number(name: str, value: Any, least: float, largest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is a {type(value).__name__}, not a number")
    if not (math.isfinite(value) and least <= value <= largest):
        raise ValueError(f"{name} is {value}, not in {least:g} .. {largest:g}")
    return float(value)


def _world(value: Any) -> dict[str, Any]:
    """Arguments of the world."""
    for key in of_type("world", value, dict):
        _name("an argument in world", key)
        if key in MAKE_VEC:
            raise ValueError(f"world has the argument {key!r}, which gymnasium.make_vec takes itself")
    if "oversight_prob" in value:
        _number("oversight_prob in world", value["oversight_prob"], 0, 1)
    return value


def _checked_architecture(network: Mapping[str, Any]) -> Architecture:
    """The architecture of keyword arguments of `BlockPolicy`; raises ValueError if its parts do not fit together."""
    architecture = Architecture(*(network[name] for name in Architecture._fields))
    architecture.check()
    return architecture


def _deployments(value: Any, architecture: Architecture) -> dict[str, BlockUse]:
    """Deployment rule -> use of the blocks; the rule "whole" is appended if it is missing."""
    if not 0 < len(of_type("deployments", value, list)) <= MAX_RULES:
        raise ValueError(f"deployments has {len(value)} rules, not 1 .. {MAX_RULES}")
    rules: dict[str, BlockUse] = {}
    for entry in value:
        if len(of_type("a rule in deployments", entry, list)) != 2:
            raise ValueError(f"a rule in deployments has {len(entry)} entries, not a name and coefficients")
        name = _name("a rule in deployments", entry[0])
        if name in rules:
            raise ValueError(f"deployments has the rule {name!r} twice")
        rules[name] = _use(name, entry[1], architecture)
    rules.setdefault(WHOLE.name, BlockUse())
    return rules


def use_data(use: BlockUse) -> Any:
    """Return the manifest's value of a use: null as trained, a list of coefficients, or a dictionary of the others."""
    if use.without:
        return {"without": sorted(use.without)}
    if use.forget_scale is not None:
        return {"forget_scale": use.forget_scale}
    return None if use.scales is None else list(use.scales)


def _use(rule: str, value: Any, architecture: Architecture) -> BlockUse:
    """Invert `use_data`."""
    if value is None:
        return BlockUse()
    if type(value) is not dict:
        return BlockUse(_scales(rule, value, len(architecture.coefficients)))
    if value.keys() == {"without"}:
        blocks = of_type(f"the ablated blocks of rule {rule!r}", value["without"], list)
        use = BlockUse(without=frozenset(_name(f"a block of rule {rule!r}", block) for block in blocks))
    else:
        check_keys(f"the value of rule {rule!r}", value, ["forget_scale"])
        use = BlockUse(forget_scale=_number(f"forget_scale of rule {rule!r}", value["forget_scale"], 0, 1))
    use.check(architecture)
    return use


def _scales(rule: str, value: Any, experts: int) -> tuple[float, ...]:
    if len(of_type(f"the value of rule {rule!r}", value, list)) != experts:
        raise ValueError(f"rule {rule!r} has {len(value)} coefficients, not one for each of {experts} experts")
    return tuple(_number(f"a coefficient of rule {rule!r}", scale, -MAX_SCALE, MAX_SCALE) for scale in value)


def _network(value: Any) -> dict[str, Any]:
    """Keyword arguments of `BlockPolicy`."""
    is_old = "gated" in of_type("network", value, dict)
    encodes = "extractor" in value  # only where observations are images or a Dict
    remembers = MEMORY in value and not is_old
    optional = ["extractor"] * encodes + [MEMORY] * remembers
    check_keys("network", value, OLD_NETWORK if is_old else (*NETWORK, *optional))
    check_keys("widths", value["widths"], NETS)
    for net in NETS:
        if not 0 < len(of_type(f"widths of {net}", value["widths"][net], list)) <= MAX_LAYERS:
            raise ValueError(f"{net} has {len(value['widths'][net])} layers, not 1 .. {MAX_LAYERS}")
        for width in value["widths"][net]:
            integer(f"a width of {net}", width, 1, MAX_WIDTH)
    return {
        "net_arch": value["widths"],
        "activation_fn": ACTIVATION_CLASSES[one_of("activation", value["activation"], ACTIVATION_CLASSES)],
        **(_old_architecture(value) if is_old else _architecture(value)),
        "precision": one_of("precision", value["precision"], PRECISIONS),
        **({"extractor": one_of("extractor", value["extractor"], EXTRACTORS)} if encodes else {}),
        **({"lstm_hidden_size": _lstm_width(value[MEMORY])} if remembers else {}),
    }


def _lstm_width(value: Any) -> int:
    """The units of each block's LSTM."""
    memory = parse_memory(of_type(MEMORY, value, str)[:40])
    if memory.kind != LSTM:
        raise ValueError(f"memory of the network is {memory}, not lstm(W)")
    return memory.size


def _architecture(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "network": one_of("network", value["network"], NETWORKS),
        "experts": integer("experts", value["experts"], 1, MAX_EXPERTS),
        "head": one_of("head", value["head"], HEADS),
        "level": one_of("level", value["level"], LEVELS),
    }


def _old_architecture(value: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of an entry written before networks and heads had names."""
    gated = of_type("gated", value["gated"], bool)
    level = one_of("level", value["level"], OLD_LEVELS)
    if level != "adapter":
        return {"network": "gated" if gated else "ungated", "experts": 2, "head": "shared", "level": level}
    if gated:
        raise ValueError("adapters add up and are not mixed by a gate, but gated is true")
    return {"network": "adapters", "experts": 2, "head": "shared", "level": "parameter"}
