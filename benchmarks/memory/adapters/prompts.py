"""Taking prompts apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.memory.adapters import NotUnderstood

__all__ = ["said_by", "schema_name", "section", "spoken"]


def said_by(request: Mapping[str, Any], role: str) -> str:
    """All that is said in this role."""
    return "\n".join(each["content"] for each in request["messages"] if each["role"] == role)


def schema_name(request: Mapping[str, Any]) -> str:
    """The name of the schema that is asked for; empty if there is none."""
    wanted = request.get("response_format") or {}
    return str(wanted.get("json_schema", {}).get("name", ""))


def section(prompt: str, name: str) -> str:
    """What is between `<name>` and `</name>`, the first that stand on lines of their own.

    Raises:
        NotUnderstood: There is no such section.
    """
    found = re.search(
        rf"^<{re.escape(name)}>\n(.*?)\n</{re.escape(name)}>$", prompt, re.DOTALL | re.MULTILINE
    )
    if found is None:
        raise NotUnderstood(f"a prompt without the section {name}")
    return found[1]


def spoken(line: str) -> tuple[str, str]:
    """Author and text of `author: text`.

    Raises:
        NotUnderstood: It is not written like that.
    """
    author, colon, text = line.partition(": ")
    if not colon:
        raise NotUnderstood("a message without its author")
    return author.strip(), text.strip()
