"""What was said, as settings: options win over a configuration file, that over a preset, over defaults."""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from flows import arms
from flows.config import CompareConfig, SharedConfig
from flows.errors import UserError, nearest_hint, unknown_name
from flows.presets import PRESETS
from flows.text import one_line

Model = TypeVar("Model", bound=BaseModel)
Values = dict[str, Any]
ARGUMENTS = "env_kwargs"  # comes from --set


class Setting(NamedTuple):
    """A field of a model or of a model in it."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def parameter(self) -> str:
        return "__".join(self.path)

    @property
    def option(self) -> str:
        return "--" + self.path[-1].replace("_", "-")


def settings(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[Setting]:
    """The fields of a model, nested ones in place."""
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            yield from settings(field.annotation, (*prefix, name))  # type: ignore[arg-type]
        else:
            yield Setting((*prefix, name), field)


def configuration(model: type[Model], said: Mapping[str, Any]) -> Model:
    """The settings that follow from what was said on the command line; raises UserError."""
    preset, file = _preset(model, said.get("preset")), _file(said.get("config"))
    explicit = _explicit(model, said)
    _validated(model, file, said.get("config"))  # alone first, so that an error says where it was said
    _validated(model, explicit)
    return _validated(model, _all_methods(_merged(_merged(preset, file), explicit)))


def with_changes(config: Model, said: Mapping[str, Any]) -> Model:
    """The same settings but for what was said on the command line; raises UserError."""
    return _validated(type(config), {**config.model_dump(), **_explicit(type(config), said)})


def _explicit(model: type[BaseModel], said: Mapping[str, Any]) -> Values:
    values: Values = {}
    for setting in settings(model):
        text = said.get(setting.parameter)
        if text is not None:
            _put(values, setting.path, _parsed(text, setting.field))
    if said.get("set"):
        values[ARGUMENTS] = parse_arguments(said["set"])
    return values


def is_list(field: FieldInfo) -> bool:
    """The setting is a list."""
    return getattr(field.annotation, "__origin__", None) is tuple


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _parsed(text: str, field: FieldInfo) -> Any:
    """Lists by commas, 1e6 as a whole number, none as unset; the model converts and checks the rest."""
    if is_list(field):
        return tuple(part.strip() for part in text.split(",") if part.strip())
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


def parse_arguments(said: Iterable[str]) -> Values:
    """What --set says: NAME=VALUE, the value JSON or else text; raises UserError."""
    try:
        return dict(map(arms.parse_argument, said))
    except ValueError as error:
        raise UserError(f"--set {error}") from None


def _preset(model: type[BaseModel], name: str | None) -> Values:
    """What of the preset, which is made for sweeps, `model` has as well."""
    if name and name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    both = model.model_fields.keys() if issubclass(model, CompareConfig) else SharedConfig.model_fields.keys()
    values = PRESETS[name] if name else {}
    return {key: value for key, value in values.items() if key in both}


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
        raise UserError(f"{name} is no valid {kind}: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{name} holds a {type(values).__name__}; it must be a table of settings")
    return values


def _merged(under: Values, over: Values) -> Values:
    both = {name: _merged(under[name], over[name]) for name in under.keys() & over.keys() if _tables(under, over, name)}
    return {**under, **over, **both}


def _tables(under: Values, over: Values, name: str) -> bool:
    return isinstance(under[name], dict) and isinstance(over[name], dict)


def _put(values: Values, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value


def _all_methods(values: Values) -> Values:
    if tuple(values.get("methods", ())) != ("all",):
        return values
    import routing

    return {**values, "methods": tuple(sorted(routing.METHODS))}


def _validated(model: type[Model], values: Values, source: str | None = None) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _mistake(model, error, source) from None


def _mistake(model: type[BaseModel], error: ValidationError, source: str | None) -> UserError:
    """The first thing that is wrong, in the words of where it was said."""
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
