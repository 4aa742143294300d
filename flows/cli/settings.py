"""Builds settings. Options override a configuration file, which overrides a preset, which overrides defaults."""

import json
import logging
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from flows import arms
from flows.config import CompareConfig, SharedConfig, TrainConfig
from flows.errors import UserError, nearest_hint, unknown_name
from flows.presets import PRESETS
from flows.text import one_line

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)
Values = dict[str, Any]
ARGUMENTS = "env_kwargs"  # filled by --set
SHORT_NAMES = {"relearn_updates": "relearn"}  # settings whose option has another name


class Setting(NamedTuple):
    """A field of a settings model or of a model nested in it."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def parameter(self) -> str:
        return "__".join(self.path)

    @property
    def option(self) -> str:
        return option_name(self.parameter)


def option_name(parameter: str) -> str:
    """The command-line option of a parameter, which is the path of a setting joined by `__`."""
    name = parameter.rpartition("__")[2]
    return "--" + SHORT_NAMES.get(name, name).replace("_", "-")


def settings(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yields the fields of a model, depth first."""
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            yield from settings(field.annotation, (*prefix, name))  # type: ignore[arg-type]
        else:
            yield Setting((*prefix, name), field)


def configuration(model: type[Model], options: Mapping[str, Any]) -> Model:
    """Builds the settings from command-line options, configuration file, preset and defaults.

    Args:
        model: The settings model.
        options: Values of the options as click parsed them; None for an option that was not given.

    Raises:
        UserError: A name or value is invalid.
    """
    preset, file = _preset(model, options.get("preset")), _file(options.get("config"))
    explicit = _explicit(model, options)
    validated(model, file, options.get("config"))  # first on its own, so that an error names the file
    validated(model, explicit)
    if "methods" in file or "methods" in explicit:
        preset.pop("reference", None)  # one of the preset's own methods
    if file.get("axis") or explicit.get("axis"):
        preset.pop("oversight", None)  # one level, unless it is set
    return _all_methods(validated(model, _merged(_merged(preset, file), explicit)))


def with_changes(config: Model, options: Mapping[str, Any]) -> Model:
    """Returns `config` with the given options replaced; raises UserError if a value is invalid."""
    return validated(type(config), {**config.model_dump(), **_explicit(type(config), options)})


def _explicit(model: type[BaseModel], options: Mapping[str, Any]) -> Values:
    values: Values = {}
    for setting in settings(model):
        text = options.get(setting.parameter)
        if text is not None:
            _put(values, setting.path, _parsed(text, setting))
    if options.get("set"):
        values[ARGUMENTS] = parse_arguments(options["set"])
    return values


def is_list(field: FieldInfo) -> bool:
    """Returns whether the field holds a tuple, written with commas on the command line."""
    return getattr(field.annotation, "__origin__", None) is tuple


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _parsed(text: str, setting: Setting) -> Any:
    """Splits lists at commas, reads 1e6 as an integer and `none` as unset. The model converts and checks the rest."""
    field = setting.field
    if is_list(field):
        try:
            return arms.split_list(text)
        except ValueError as error:
            raise UserError(f"{setting.option}: {error}") from None
    if text.lower() == "none" and type(None) in get_args(field.annotation):
        return None
    if field.annotation is int:
        return _whole(text)
    return text


def _whole(text: str) -> Any:
    try:
        number = float(text)
        return int(number) if number.is_integer() else text
    except (ValueError, OverflowError):
        return text


def parse_arguments(texts: Iterable[str]) -> Values:
    """Parses the values of --set, each NAME=VALUE; raises UserError."""
    try:
        return dict(map(arms.parse_argument, texts))
    except ValueError as error:
        raise UserError(f"--set {error}") from None


def _preset(model: type[BaseModel], name: str | None) -> Values:
    """The values of a preset that `model` has. Presets describe sweeps, so a run takes only the shared settings."""
    if name and name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    fields = model.model_fields.keys() if issubclass(model, CompareConfig) else SharedConfig.model_fields.keys()
    values = PRESETS[name] if name else {}
    return {key: value for key, value in values.items() if key in fields}


def _file(name: str | None) -> Values:
    if not name:
        return {}
    try:
        text = Path(name).read_text(encoding="utf-8")
        values = json.loads(text) if name.endswith(".json") else tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read the configuration file {name} ({error.strerror})") from None
    except (ValueError, UnicodeDecodeError) as error:
        kind = "JSON" if name.endswith(".json") else "TOML"
        raise UserError(f"{name} is not valid {kind}: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{name} holds a {type(values).__name__}; expected a table of settings")
    return values


def _merged(base: Values, override: Values) -> Values:
    """Merges two nested tables; `override` wins."""
    nested = {
        name: _merged(base[name], override[name])
        for name in base.keys() & override.keys()
        if isinstance(base[name], dict) and isinstance(override[name], dict)
    }
    return {**base, **override, **nested}


def _put(values: Values, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value


def _all_methods(config: Model) -> Model:
    """Replaces the methods "all" of a sweep by keyhole's own that can hold in its world."""
    if not isinstance(config, CompareConfig) or config.methods != ("all",):
        return config
    import routing

    ours = sorted(name for name, registered in routing.METHODS.items() if registered.module.startswith("routing."))
    run = {
        "env": config.env,
        ARGUMENTS: config.env_kwargs,
        "overseer": config.overseer,
        "oversight": max(config.oversight),
        "memory": config.memory,
        "learner": config.learner,
    }
    methods = tuple(name for name in ours if _fits({**run, "method": name}))
    return config.model_copy(update={"methods": methods})


def _fits(run: Values) -> bool:
    """Whether a method's parts find in the world and the learner of a run what they require; True if it is unknown.

    Prints the reason if they do not, so that `--methods all` leaves nothing out silently.
    """
    from flows.sweep.checks import check_run_memory
    from flows.sweep.method_checks import check_requirements

    try:
        config = TrainConfig.model_validate(run)
        if config.learner == "ppo":  # another learner is refused for all methods
            check_run_memory(config)
        check_requirements(config)
    except UserError as error:
        click.echo(f"keyhole: left out: {one_line(error)}", err=True)
        return False
    except Exception as error:  # of the environment: the checks that follow explain it
        log.info("%s is not checked: %s", run["method"], error)
    return True


def validated(model: type[Model], values: Values, source: str | None = None) -> Model:
    """Returns the settings with these values; raises UserError for the first that is invalid."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _user_error(model, error, source) from None


def _user_error(model: type[BaseModel], error: ValidationError, source: str | None) -> UserError:
    """Describes the first error by the option, or by the file and key, that caused it."""
    first = error.errors()[0]
    path = tuple(part for part in first["loc"] if isinstance(part, str))
    known = {setting.path: setting for setting in settings(model)}
    where = f"{source}: {'.'.join(path)}" if source else known[path].option if path in known else ".".join(path)
    if first["type"] == "extra_forbidden":
        siblings = [candidate[-1] for candidate in known if candidate[:-1] == path[:-1]] + ["training"]
        hint = nearest_hint(path[-1], siblings) or f"; one of {', '.join(siblings)}"
        return UserError(f"{where}: no such setting{hint}")
    if first["type"] == "too_short":
        return UserError(f"{where}: found nothing; name at least one")
    what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return UserError(f"{where}: found {first['input']!r}; {what}")
