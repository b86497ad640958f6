"""The registry that collects what the decorators have stamped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from bgtasks.errors import DuplicateTask, InvalidTask, UnknownTask
from bgtasks.spec import (
    Spec,
    TaskFunction,
    place,
)

__all__ = ["Registry", "default_registry", "record"]

ENTRY_POINTS = "bgtasks.tasks"
_STAMP = "__bgtasks_spec__"


class Registry:
    """An ordered collection of specs with unique names.

    A registry of one's own holds only what was put in. The module-level one, `default_registry`, is
    filled by the decorators and, on `discover()`, by the entry points of group `bgtasks.tasks`, which
    is how the built-in tasks come in too.
    """

    def __init__(self) -> None:
        self._specs: dict[str, Spec] = {}
        self._broken: dict[str, str] = {}

    def __iter__(self) -> Iterator[Spec]:
        return iter(tuple(self._specs.values()))

    def __len__(self) -> int:
        return len(self._specs)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    @property
    def broken(self) -> dict[str, str]:
        """Entry points that could not be imported: name to reason."""
        return dict(self._broken)

    def add(self, *functions: TaskFunction | Spec) -> None:
        """Put in decorated functions, or specs.

        The same function again (module and qualified name, as after a reload or when the main script is
        also imported by its module name) replaces its older self. So does, as in Python itself, a second
        function of one name in one module.

        Raises:
            DuplicateTask: A different function has one of the names. Nothing is added then.
            InvalidTask: A function that no decorator has stamped.
        """
        added: dict[str, Spec] = {}
        for each in functions:
            spec = each if isinstance(each, Spec) else getattr(each, _STAMP, None)
            if not isinstance(spec, Spec):
                raise InvalidTask(f"{place(each)} carries no spec: decorate it with @background_task")
            taken = {**self._names(), **_names_of(added.values())}
            for name in (spec.name, *spec.aliases):
                holder = taken.get(name)
                if holder is not None and not _same_function(holder.func, spec.func):
                    raise DuplicateTask(name, place(holder.func), place(spec.func))
            added[spec.name] = spec
        self._specs.update(added)

    def resolve(self, name: str) -> Spec:
        """The spec called `name`, by its name or an alias.

        Raises:
            UnknownTask: No task has that name; the message offers the nearest one.
        """
        names = self._names()
        if name not in names:
            raise UnknownTask(name, names)
        return names[name]

    def discover(self) -> None:
        """Import the entry points of group `bgtasks.tasks` and put in what their modules hold.

        An entry point that cannot be imported ends up in `broken` with its reason, and the others go on.
        Importing also records the tasks in the module-level registry, as any import of them does.

        Raises:
            DuplicateTask: Two entry points bring different functions of one name.
        """
        from importlib.metadata import entry_points  # slow to import, needed here only

        for point in entry_points(group=ENTRY_POINTS):
            try:
                loaded = point.load()
            except Exception as error:  # noqa: BLE001 - someone else's module; recorded as a row
                self._broken[point.name] = f"could not be imported: {type(error).__name__}: {error}"
            else:
                self._broken.pop(point.name, None)
                held = vars(loaded).values() if isinstance(loaded, ModuleType) else (loaded,)
                self.add(*(each for each in held if isinstance(getattr(each, _STAMP, None), Spec)))

    def _names(self) -> dict[str, Spec]:
        return _names_of(self._specs.values())


default_registry = Registry()
"""Where the decorators record, unless they are given a registry."""


def record[F: TaskFunction](func: F, registry: Registry | None, spec: Spec) -> F:
    """Stamp a function with its spec, and put it in a registry, or in the module-level one.

    Raises:
        InvalidTask: It cannot be stamped.
        DuplicateTask: A different function has the name.
    """
    try:
        setattr(func, _STAMP, spec)
    except AttributeError as error:
        raise InvalidTask(f"{place(func)} cannot be decorated: wrap it in an async def") from error
    (default_registry if registry is None else registry).add(spec)
    return func


def _names_of(specs: Any) -> dict[str, Spec]:
    return {name: spec for spec in specs for name in (spec.name, *spec.aliases)}


def _module(func: Any) -> str | None:
    """The module's importable name, also for a function of the script that was started."""
    module = getattr(func, "__module__", None)
    if module == "__main__":
        started = getattr(sys.modules.get("__main__"), "__spec__", None)
        return str(started.name) if started is not None else "__main__"
    return None if module is None else str(module)


def _same_function(one: Any, other: Any) -> bool:
    if one is other:
        return True
    names = (getattr(one, "__qualname__", None), getattr(other, "__qualname__", None))
    if names[0] is None or names[0] != names[1]:
        return False
    files = [getattr(getattr(each, "__code__", None), "co_filename", None) for each in (one, other)]
    # A script run by its path has no importable name: its file tells that it is the same module.
    twin = "__main__" in (one.__module__, other.__module__) and files[0] == files[1] is not None
    return twin or _module(one) == _module(other)
