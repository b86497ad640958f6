"""`bgtasks nodes told`: what nodes were told, by whom, and what each answered."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text

from bgtasks.cli.display import (
    AsJson,
    as_record,
    instant,
    now,
    one_line,
    print_json,
    read_json,
    say,
    say_more,
    show,
    tail,
)
from bgtasks.cli.session import execute
from bgtasks.cli.store import StoreUrl, opened
from bgtasks.nodes import Nodes
from bgtasks.records import EVERY_NODE, CommandRow

__all__ = ["told"]


def told(
    limit: int = typer.Option(20, min=1, max=10_000, help="How many."),
    as_json: bool = AsJson,
    store: str | None = StoreUrl,
) -> None:
    """Show what nodes were told, by whom, and what each answered; the latest first."""

    async def work() -> None:
        async with opened(store) as held:
            found = await Nodes(held).told(limit + 1)
        commands = found[:limit]
        if as_json:
            print_json([_record(command) for command in commands])
        elif not commands:
            say("nobody was told anything")
        else:
            rows = [_cells(command) for command in commands]
            fold = {"who": 20, "what": 60, "answers": 80}
            show(("when (UTC)", "who", "told whom", "what", "answers"), rows, fold=fold)
        if len(found) > limit:
            say_more(f"more: --limit {limit * 2}", as_json=as_json)

    execute(work())


def _record(command: CommandRow) -> dict[str, Any]:
    return {**as_record(command), "answers": [answer._asdict() for answer in command.answers]}


def _cells(command: CommandRow) -> tuple[str | Text, ...]:
    whom = "all" if command.node_id == EVERY_NODE else tail(command.node_id)
    arguments = read_json(command.arguments_json)
    given = arguments.items() if isinstance(arguments, dict) else ()
    said = "".join(f", {name}: {value}" for name, value in given)
    return (
        instant(command.created_at),
        command.asked_by,
        whom,
        f"{command.kind} {command.subject}{said}",
        _answers(command),
    )


def _answers(command: CommandRow) -> Text:
    if not command.answers:
        return Text("none yet" if now() < command.expires_at else "nobody answered", "yellow")
    lines = (
        Text(f"{tail(answer.node_id)}: {one_line(answer.text)}", "" if answer.done else "red")
        for answer in command.answers
    )
    return Text("\n").join(lines)
