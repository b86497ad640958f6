"""The exceptions of bgtasks. Each message says what is wrong and what cures it.

```
BgTasksError
├── ConfigurationError (ValueError)         something declared cannot be meant
│   ├── InvalidTrigger                      an interval, cron expression or instant
│   ├── InvalidTask                         a decorated function or a registration
│   ├── DuplicateTask                       a name that another function already has
│   └── InvalidSetting                      an environment variable or `.env` entry
├── UnknownTask (LookupError)               a name that no task has
├── UnknownJob (LookupError)                an id that no job in the store has
├── UnknownNode (LookupError)               a name that no process has which is alive
├── MissingExtra (ImportError)              an optional dependency is not installed
├── ResourceUnavailable (ConnectionError)   a server does not answer (now)
├── UnsuitableServer                        a server answers but cannot serve us
│   └── MissingCommand                      it lacks a command, or the module that brings it
├── NotLeader (RuntimeError)                 this node may not do what only the leader may
├── ClaimLost                               this run is another node's to do by now
├── Fenced                                  a write with an older token than a server has seen
├── EmbeddedServerError                     the embedded server could not be started
├── OverBudget                              a call to a model would cost more than is allowed today
├── BadAnswer                               a model gave no usable answer to this input
└── InvalidMessage (ValueError)             a message or a prompt that cannot be taken
```

Messages never contain a password: addresses are passed through `redact` before they are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "BadAnswer",
    "BgTasksError",
    "ClaimLost",
    "ConfigurationError",
    "DuplicateTask",
    "EmbeddedServerError",
    "Fenced",
    "InvalidMessage",
    "InvalidSetting",
    "InvalidTask",
    "InvalidTrigger",
    "MissingCommand",
    "MissingExtra",
    "NotLeader",
    "OverBudget",
    "ResourceUnavailable",
    "UnknownJob",
    "UnknownNode",
    "UnknownTask",
    "UnsuitableServer",
    "nearest",
    "redact",
]


class BgTasksError(Exception):
    """Root of every exception that bgtasks raises on purpose."""


class ConfigurationError(BgTasksError, ValueError):
    """Something the program or the operator declared cannot be meant."""


class InvalidTrigger(ConfigurationError):
    """An interval, a cron expression or an instant that cannot be a schedule."""


class InvalidTask(ConfigurationError):
    """A task or worker declared in a way that could never run."""


class DuplicateTask(ConfigurationError):
    """A different function already has this name."""

    def __init__(self, name: str, existing: str, new: str) -> None:
        super().__init__(
            f'the name "{name}" is taken by {existing}; give {new} a name of its own: name="another_name"'
        )
        self.name = name


class InvalidSetting(ConfigurationError):
    """A setting that does not exist, or whose value cannot be read."""


class UnknownTask(BgTasksError, LookupError):
    """A name that no registered task or worker has."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = list(known)
        near = nearest(name, names)
        if near is not None:
            cure = f'did you mean "{near}"?'
        elif names:
            cure = "known: " + ", ".join(sorted(names))
        else:
            cure = "no task is registered"
        super().__init__(f'no task is called "{name}": {cure}')
        self.name = name


class UnknownJob(BgTasksError, LookupError):
    """No job in the store has this id: there never was one, or it was removed."""

    def __init__(self, id: object) -> None:
        super().__init__(f"no job has the id {id}: it was removed, or never added (bgtasks jobs lists them)")


class UnknownNode(BgTasksError, LookupError):
    """No node that is alive is called so."""

    def __init__(self, name: str, alive: Iterable[str]) -> None:
        names = sorted(set(alive))
        called = f'no node called "{name}" is alive to be told: alive: {", ".join(names)}'
        super().__init__(called if names else "no node is alive to be told")
        self.name = name


class MissingExtra(BgTasksError, ImportError):
    """An optional dependency is needed here and is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra \"{extra}\": pip install 'bgtasks[{extra}]'")
        self.extra = extra


class ResourceUnavailable(BgTasksError, ConnectionError):
    """A server that a task works with does not answer at the moment.

    A task may raise it itself: the run then counts as `Deferred`, is said once for the resource
    and is tried again after a short, growing delay instead of at the task's next tick.

    Args:
        resource: The resource's name as tasks know it, such as `redis` or `kg_manager`.
        detail: What happened, without secrets.
    """

    def __init__(self, resource: str, detail: str) -> None:
        super().__init__(f"{resource} is unavailable: {redact(detail)}")
        self.resource = resource
        self.detail = redact(detail)


class UnsuitableServer(BgTasksError):
    """A server answers, but is not what is needed: no Redis, a missing command, a cluster."""


class MissingCommand(UnsuitableServer):
    """A server lacks a command that is needed, because of its age, its configuration or a module."""


class NotLeader(BgTasksError, RuntimeError):
    """This node is not the leader, or cannot be sure of it, and was asked to do what only the leader may."""


class ClaimLost(BgTasksError):
    """A run of a cluster task is not this process's to do any more: it is offered to another."""


class Fenced(BgTasksError):
    """A write carried a smaller fencing token than a server has seen. It was refused there, as a whole.

    Whoever wrote has been succeeded: it ends, and what is left to do is its successor's.

    Args:
        resource: The server's name as tasks know it, such as `redis` or `kg_manager`.
        source: What the tokens come from: the key of a lease, or `claim:<task>`.
        token: The token that the write carried.
        seen: The larger one.
    """

    def __init__(self, resource: str, source: str, token: int, seen: int) -> None:
        super().__init__(
            f"{resource} refused a write with token {token} of {source}: it has seen {seen}. Nothing was "
            f"written; this node has been succeeded, so end the work and leave the rest to its successor"
        )
        self.source = source
        self.token = token
        self.seen = seen


class EmbeddedServerError(BgTasksError):
    """The embedded server could not be started or joined."""


class OverBudget(BgTasksError):
    """A call to a model would go over what may be spent today. It was not made.

    A task may let it pass: the run then counts as `Deferred`, and the task is due again at its next tick.
    """


class BadAnswer(BgTasksError):
    """A model was asked and gave nothing that can be used: not what the schema says, cut off, or refused.

    Never "nothing found". The same input may well fail again; a smaller one may not.
    """


class InvalidMessage(BgTasksError, ValueError):
    """A chat message or a prompt that cannot be taken as it is."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None when nothing is close enough to suggest."""
    import difflib  # only an error path needs it

    matches = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def redact(text: str) -> str:
    """`text` without the credentials of the URLs in it, among the options and before the host.

    A password may hold any character, so outside the web all up to the last `@` of a URL is taken for it.
    """
    text = re.sub(r"(?<=[?&])(username|password)=[^&\s'\"]*", r"\1=***", text)
    text = re.sub(r"\b(https?)://[^/\s]*@", r"\1://***@", text)
    return re.sub(r"\b(?!https?:)([a-z][\w+.-]*)://\S*@", r"\1://***@", text)
