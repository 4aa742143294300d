"""Derives command-line options from the settings models: name, type, default, bounds and description."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.cli.settings import ARGUMENTS, Setting, is_list, settings
from flows.config import TrainConfig
from flows.presets import DESCRIPTIONS, PRESETS
from flows.project import ARTIFACTS, MLRUNS, STORE

METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "[true|false]"}
STORE_OPTIONS = (
    ("--mlruns", MLRUNS, "DIR", "directory of the store  [default: mlruns]"),
    ("--store", STORE, "URI", f"database of the store, postgresql://... or http://...; also ${STORE}"),
    (
        "--artifacts",
        ARTIFACTS,
        "URI",
        f"where a new store keeps the runs' files, s3://... or file://...; also ${ARTIFACTS}",
    ),
)
SET_BY_SWEEPS = (("axis",), ("level",))  # settings of a run without an option
BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def options(model: type[BaseModel]) -> Callable[[Callable], Callable]:
    """Decorates a click command with an option for each setting of the model, and --set, --preset, --config."""
    hidden = {(ARGUMENTS,), *(SET_BY_SWEEPS if issubclass(model, TrainConfig) else ())}
    known = [setting for setting in settings(model) if setting.path not in hidden]

    def decorate(command: Callable) -> Callable:
        for option in reversed([*map(_option, known), *_common()]):
            command = option(command)
        return command

    return decorate


def setting_options(model: type[BaseModel], hidden: tuple[str, ...] = ()) -> Callable[[Callable], Callable]:
    """Decorates a click command with an option for each setting of the model, except those in `hidden`."""
    known = [setting for setting in settings(model) if setting.path[0] not in hidden]

    def decorate(command: Callable) -> Callable:
        for option in reversed([*map(_option, known)]):
            command = option(command)
        return command

    return decorate


def store_option(command: Callable) -> Callable:
    """Adds the options that select the store, for every command that reads or writes runs."""
    for name, variable, metavar, text in reversed(STORE_OPTIONS):
        command = click.option(
            name, metavar=metavar, callback=partial(_set_variable, variable), expose_value=False, help=text
        )(command)
    return command


def _set_variable(variable: str, context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ[variable] = os.path.abspath(value) if variable == MLRUNS else value


def _option(setting: Setting) -> Callable:
    optional: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if setting.field.annotation is bool else {}
    return click.option(
        setting.option,
        setting.parameter,
        metavar=_metavar(setting.field),
        help=_help(setting.field),
        default=None,
        **optional,
    )


def _common() -> list[Callable]:
    return [
        click.option(
            "--set", "set", multiple=True, metavar="NAME=VALUE", help="argument of the environment; may be repeated"
        ),
        click.option(
            "--preset",
            metavar="|".join(PRESETS),
            help="named set of values; explicit options override it. "
            + "; ".join(f"{name}: {text}" for name, text in DESCRIPTIONS.items()),
        ),
        click.option(
            "--config", metavar="FILE", help="settings from a TOML or JSON file; explicit options override it"
        ),
    ]


def _metavar(field: FieldInfo) -> str:
    annotation = get_args(field.annotation)[0] if is_list(field) else field.annotation
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    annotation = getattr(annotation, "__origin__", annotation)  # unwraps Annotated
    plain = next((kind for kind in (annotation, *get_args(annotation)) if kind in METAVARS), str)
    return METAVARS[plain] + ",..." * is_list(field)


def _help(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    facts = ([] if shown in (None, "") else [f"default: {shown}"]) + _bounds(field)
    return f"{field.description}  [{'; '.join(facts)}]" if facts else str(field.description)


def _bounds(field: FieldInfo) -> list[str]:
    constraints = [*field.metadata, *(m for inner in get_args(field.annotation) for m in _inner(inner))]
    found = {sign: getattr(c, name) for c in constraints for name, sign in BOUNDS if hasattr(c, name)}
    low = [f"{found[sign]:g}{'<' if sign == '>' else '<='}" for sign in (">", ">=") if sign in found]
    high = [f"{sign}{found[sign]:g}" for sign in ("<", "<=") if sign in found]
    return ["".join([*low, "x", *high])] if low or high else []


def _inner(annotation: Any) -> list[Any]:
    """The constraints on the items of a tuple."""
    return [m for info in getattr(annotation, "__metadata__", ()) for m in getattr(info, "metadata", ())]
