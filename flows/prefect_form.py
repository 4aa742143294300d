"""The form that the Prefect UI shows for the parameters of a sweep, whether started by hand or by a schedule.

The form follows the JSON schema of `flows.config.CompareConfig`: the settings of `TOP` come first, in this order, and
the others are grouped below.
"""

from collections.abc import Callable, Mapping
from typing import Any

TOP = ("methods", "oversight", "seeds", "steps", "name")
MORE = "more"  # name of the group


def group_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the form groups them."""
    rest = {name: value for name, value in values.items() if name not in TOP}
    return {name: values[name] for name in TOP} | {MORE: rest}


def ungroup_settings(values: Any, defaults: Callable[[], Mapping[str, Any]]) -> Any:
    """Return settings without the group; values that are not settings are returned unchanged.

    A setting can be given twice: an older deployment has no group, and the form then fills the group with defaults. The
    grouped value counts if it differs from the default, else the ungrouped one.

    Args:
        values: the settings, of any form.
        defaults: returns the default of every setting, as JSON values.
    """
    group = values.get(MORE) if isinstance(values, dict) else None
    if not isinstance(group, dict):
        return values
    ungrouped = {name: value for name, value in values.items() if name != MORE}
    return _merged(ungrouped, group, defaults())


def _merged(first: Mapping[str, Any], second: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; of a name in both, the value of the second if it differs from the default."""
    merged = {**second, **first}
    for name in first.keys() & second.keys():
        if isinstance(first[name], Mapping) and isinstance(second[name], Mapping):
            merged[name] = _merged(first[name], second[name], defaults.get(name) or {})
        elif second[name] != defaults.get(name):
            merged[name] = second[name]
    return merged


def arrange_schema(schema: dict[str, Any]) -> None:
    """Arrange the properties of a JSON schema as the form shows them, in place.

    Additional properties are accepted, so that parameters of existing deployments, which have no group, stay valid. The
    model itself rejects unknown names.
    """
    fields = schema["properties"]
    rest = {name: field for name, field in fields.items() if name not in TOP}
    group = {"type": "object", "title": "More settings", "additionalProperties": False, "properties": rest}
    schema["properties"] = {name: fields[name] for name in TOP} | {MORE: group}
    rest["training"].pop("default", None)  # contains the learner's defaults, which another learner must not get
    for properties in (rest, schema["properties"]):
        for position, name in enumerate(properties):
            properties[name] = {**properties[name], "position": position}
    del schema["additionalProperties"]
