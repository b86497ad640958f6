"""The exceptions: one root, a builtin beside it, and messages that name the cure and no secret."""

from __future__ import annotations

import pytest

from bgtasks import errors
from bgtasks.errors import (
    BgTasksError,
    DuplicateTask,
    MissingExtra,
    ResourceUnavailable,
    UnknownTask,
    nearest,
    redact,
)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("InvalidTrigger", ValueError),
        ("InvalidTask", ValueError),
        ("DuplicateTask", ValueError),
        ("InvalidSetting", ValueError),
        ("UnknownTask", LookupError),
        ("MissingExtra", ImportError),
        ("ResourceUnavailable", ConnectionError),
        ("UnsuitableServer", Exception),
        ("EmbeddedServerError", Exception),
        ("InvalidMessage", ValueError),
    ],
)
def test_every_error_is_ours_and_also_what_python_calls_it(name: str, builtin: type[Exception]) -> None:
    error = getattr(errors, name)

    assert issubclass(error, BgTasksError)
    assert issubclass(error, builtin)


def test_every_exception_of_the_module_is_in_the_tree_and_in_all() -> None:
    found = [value for value in vars(errors).values() if isinstance(value, type)]

    assert {each.__name__ for each in found if issubclass(each, BaseException)} <= set(errors.__all__)
    assert all(issubclass(each, BgTasksError) for each in found if issubclass(each, BaseException))
    assert all(each.__name__ in (errors.__doc__ or "") for each in found if issubclass(each, BgTasksError))


def test_a_taken_name_is_refused_with_both_functions_and_the_cure() -> None:
    error = DuplicateTask("tidy", "host.tasks.tidy", "plugin.tidy")

    assert str(error) == (
        'the name "tidy" is taken by host.tasks.tidy; give plugin.tidy a name of its own: name="another_name"'
    )
    assert error.name == "tidy"


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("kg_decy", ["kg_decay", "tidy"], 'no task is called "kg_decy": did you mean "kg_decay"?'),
        ("xyz", ["tidy", "kg_decay"], 'no task is called "xyz": known: kg_decay, tidy'),
        ("xyz", [], 'no task is called "xyz": no task is registered'),
    ],
)
def test_an_unknown_task_is_answered_with_the_nearest_or_with_all(
    name: str, known: list[str], said: str
) -> None:
    assert str(UnknownTask(name, iter(known))) == said


def test_a_missing_extra_says_what_to_install() -> None:
    error = MissingExtra("the admin page", "admin")

    assert str(error) == "the admin page needs the extra \"admin\": pip install 'bgtasks[admin]'"
    assert error.extra == "admin"


def test_an_unavailable_resource_keeps_its_name_and_hides_the_password() -> None:
    error = ResourceUnavailable("redis", "cannot connect to redis://user:secret@db:6379/0")

    assert error.resource == "redis"
    assert error.detail == "cannot connect to redis://***@db:6379/0"
    assert str(error) == "redis is unavailable: cannot connect to redis://***@db:6379/0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:secret@db:6379/0", "redis://***@db:6379/0"),
        ("rediss://user:secret@db", "rediss://***@db"),
        (
            "postgresql+asyncpg://u:secret@db/x and redis://:secret@r",
            "postgresql+asyncpg://***@db/x and redis://***@r",
        ),
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("https://example.org/@someone", "https://example.org/@someone"),
        ("write to someone@example.org", "write to someone@example.org"),
        ("", ""),
    ],
)
def test_the_user_and_password_of_a_url_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:sec@ret@db:6379/0",  # redis-py takes what is before the last @ for the password
        "redis://db:6379/0?password=sec@ret",
        "redis://db:6379/0?username=app&password=ret",
    ],
)
def test_a_password_that_redis_py_would_take_from_a_url_is_hidden_whole(url: str) -> None:
    assert "ret" not in redact(url)


def test_the_nearest_name_is_offered_only_when_it_is_near() -> None:
    assert nearest("kg_dcay", ["kg_decay", "channel_heartbeat"]) == "kg_decay"
    assert nearest("zzz", ["kg_decay"]) is None
    assert nearest("anything", []) is None
