"""The command line. `main` is the console script `bgtasks`.

Exit codes: 0 done; 1 part of it was not done, and which part was said; 2 the call or the settings cannot
be meant; 3 a server cannot be used; 130 interrupted.
"""

from __future__ import annotations

import os
import sys

from bgtasks.errors import BgTasksError, EmbeddedServerError, ResourceUnavailable, UnsuitableServer

__all__ = ["exit_code", "main"]


def exit_code(error: BgTasksError) -> int:
    """The exit code of a process that an error of ours ended: 3 for a server, else 2."""
    return 3 if isinstance(error, ResourceUnavailable | UnsuitableServer | EmbeddedServerError) else 2


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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `bgtasks tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
