"""The smallest value that a JSON schema allows: the answer to a form that the stand-in does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["minimal"]

DEEPEST = 12


def minimal(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
    """A value that satisfies `schema`: its default, else empty, null, zero, or the first one listed."""
    root = schema if root is None else root
    if depth > DEEPEST:
        return None
    if "$ref" in schema:
        return minimal(_referred(root, str(schema["$ref"])), root, depth + 1)
    for key in ("default", "const"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        null = next((option for option in options if option.get("type") == "null"), None)
        return minimal(null or options[0], root, depth + 1)
    if schema.get("allOf"):
        return minimal(schema["allOf"][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if "null" in kind else kind[0]
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        wanted = schema.get("required", properties)
        return {name: minimal(properties.get(name, {}), root, depth + 1) for name in wanted}
    if kind == "array":
        return [minimal(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return "-" * int(schema.get("minLength", 0))
    if kind in ("integer", "number"):
        least = schema.get("minimum", 0)
        return least if "exclusiveMinimum" not in schema else schema["exclusiveMinimum"] + 1
    return False if kind == "boolean" else None


def _referred(root: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    found: Any = root
    for part in path.removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
