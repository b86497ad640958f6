"""The command line. `main` is the console script `bgtasks`.

Exit codes: 0 done; 1 part of it was not done, and which part was said; 2 the call or the settings cannot
be meant; 3 a server cannot be used; 130 interrupted. A reader that is gone, as in `bgtasks tasks | head`, is
1, and Typer sees to it.
"""

from __future__ import annotations

import sys

from bgtasks.errors import BgTasksError, EmbeddedServerError, ResourceUnavailable, UnsuitableServer

__all__ = ["exit_code", "main", "printable"]


def exit_code(error: BgTasksError) -> int:
    """The exit code of a process that an error of ours ended: 3 for a server, else 2."""
    return 3 if isinstance(error, ResourceUnavailable | UnsuitableServer | EmbeddedServerError) else 2


def printable(text: str) -> str:
    """The text with a blank for each character that a terminal would obey, or cannot show."""
    return "".join(each if each.isprintable() else " " for each in text)


def main() -> None:
    """Run the command line and exit. Every error of ours is one line on stderr, without a traceback."""
    from bgtasks.errors import MissingExtra

    try:
        try:
            import rich  # noqa: F401
            import typer  # noqa: F401
        except ImportError as error:
            raise MissingExtra("the command line", "cli") from error
        from bgtasks.cli.app import app

        app(standalone_mode=True)
    except BgTasksError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:  # while the commands are imported; from then on Typer exits with the same code
        print("interrupted", file=sys.stderr)
        sys.exit(130)
