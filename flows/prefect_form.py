"""The form in which the Prefect UI asks for the parameters of a sweep, also of a scheduled one.

The form follows the JSON schema of `flows.config.CompareConfig`: the settings of `TOP` come first, in this order, and
the others are grouped below.
"""

from collections.abc import Mapping
from typing import Any

TOP = ("methods", "oversight", "seeds", "steps", "name")
MORE = "more"  # name of the group


def group_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as the form groups them."""
    rest = {name: value for name, value in values.items() if name not in TOP}
    return {name: values[name] for name in TOP} | {MORE: rest}


def ungroup_settings(values: Any) -> Any:
    """Return settings without the group; values that are not settings are returned unchanged.

    Ungrouped settings win: the form fills the group of an older deployment, which has none, with defaults.
    """
    group = values.get(MORE) if isinstance(values, dict) else None
    if not isinstance(group, dict):
        return values
    return {**group, **{name: value for name, value in values.items() if name != MORE}}


def arrange_schema(schema: dict[str, Any]) -> None:
    """Arrange the properties of a JSON schema as the form shows them, in place.

    Additional properties are accepted, so that parameters of existing deployments, which have no group, stay valid. The
    model itself rejects unknown names.
    """
    fields = schema["properties"]
    rest = {name: field for name, field in fields.items() if name not in TOP}
    group = {"type": "object", "title": "More settings", "additionalProperties": False, "properties": rest}
    schema["properties"] = {name: fields[name] for name in TOP} | {MORE: group}
    for properties in (rest, schema["properties"]):
        for position, name in enumerate(properties):
            properties[name] = {**properties[name], "position": position}
    del schema["additionalProperties"]
