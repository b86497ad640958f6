"""Settings: from the environment and `.env`; every mistake is one error that names the cure."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from bgtasks import Registry, background_task, build_scheduler
from bgtasks.contracts import StrictConfig
from bgtasks.errors import InvalidSetting
from bgtasks.settings import Settings, namespace_of

DEFAULTS: dict[str, Any] = {
    "redis_url": None,
    "falkordb_url": None,
    "graph_name": "bgtasks",
    "namespace": "bgtasks",
    "data_dir": None,
    "log_level": "INFO",
    "stop_timeout": 10.0,
    "store_url": None,
    "history_days": 30.0,
    "history_runs": 1000,
    # those that the table of built-in tasks names
    "background_scheduler_chat_llm_enabled": True,
    "background_scheduler_log_rag_ingest_enabled": False,
    "starwiki_enabled": False,
    "starwiki_lint_interval_minutes": 360.0,
    "ka_enabled": False,
    "ka_dedup_enabled": False,
    "ka_org_enabled": False,
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, and an empty directory to find `.env` in."""
    for name in [name for name in os.environ if name.upper().startswith("BGTASKS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_each_setting_has_its_default(name: str, value: Any) -> None:
    assert getattr(Settings.load(), name) == value


def test_each_setting_says_what_it_does() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_environment_is_read_whatever_the_case_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGTASKS_NAMESPACE", "mybot")
    monkeypatch.setenv("bgtasks_ka_enabled", "yes")
    monkeypatch.setenv("Bgtasks_Stop_Timeout", "2.5")

    settings = Settings.load()

    assert (settings.namespace, settings.ka_enabled, settings.stop_timeout) == ("mybot", True, 2.5)


def test_a_dot_env_file_is_read_and_the_environment_and_arguments_go_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "# ours\nBGTASKS_NAMESPACE=from_file\nBGTASKS_GRAPH_NAME='from file'\n"
        "export BGTASKS_LOG_LEVEL=DEBUG\n"
        "BGTASKS_STARWIKI_ENABLED=true\n"
    )
    monkeypatch.setenv("BGTASKS_GRAPH_NAME", "from_environment")
    monkeypatch.setenv("BGTASKS_STARWIKI_ENABLED", "true")

    settings = Settings.load(starwiki_enabled=False)

    assert settings.namespace == "from_file"
    assert settings.graph_name == "from_environment"
    assert settings.log_level == "DEBUG"
    assert settings.starwiki_enabled is False


def test_what_is_not_ours_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-1\nNAMESPACE=theirs\nBGTASK_NAMESPACE=theirs\n")
    monkeypatch.setenv("NAMESPACE", "theirs")
    monkeypatch.setenv("XBGTASKS_NAMESPACE", "theirs")

    assert Settings.load().namespace == "bgtasks"


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("BGTASKS_NAMSPACE", "BGTASKS_NAMESPACE"),
        ("BGTASKS_REDIS", "BGTASKS_REDIS_URL"),
        ("bgtasks_ka_enable", "BGTASKS_KA_ENABLED"),
        ("BGTASKS_BACKGROUND_SCHEDULER_CHAT_LLM_ENABLE", "BGTASKS_BACKGROUND_SCHEDULER_CHAT_LLM_ENABLED"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_misspelt_name_is_an_error_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, misspelt: str, meant: str
) -> None:
    if where == "environment":
        monkeypatch.setenv(misspelt, "1")
    else:
        (tmp_path / ".env").write_text(f"{misspelt}=1\n")

    with pytest.raises(InvalidSetting) as caught:
        Settings.load()

    assert str(caught.value) == f"{misspelt.upper()} is not a setting: did you mean {meant}?"


def test_a_name_like_no_other_is_an_error_that_says_where_the_list_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BGTASKS_QQQQQQQQQQ", "1")

    with pytest.raises(
        InvalidSetting, match="BGTASKS_QQQQQQQQQQ is not a setting: `bgtasks settings` lists them all"
    ):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KA_ENABLED", "perhaps"),
        ("KA_ENABLED", ""),
        ("STOP_TIMEOUT", "soon"),
        ("STOP_TIMEOUT", "0"),
        ("STOP_TIMEOUT", "-1"),
        ("STOP_TIMEOUT", "nan"),
        ("STOP_TIMEOUT", "inf"),
        ("STARWIKI_LINT_INTERVAL_MINUTES", "0"),
        ("STARWIKI_LINT_INTERVAL_MINUTES", "inf"),
        ("NAMESPACE", ""),
        ("GRAPH_NAME", ""),
        ("LOG_LEVEL", "LOUD"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_value_that_cannot_be_meant_is_an_error_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, name: str, value: str
) -> None:
    if where == "environment":
        monkeypatch.setenv(f"BGTASKS_{name}", value)
    else:
        (tmp_path / ".env").write_text(f"BGTASKS_{name}={value}\n")

    with pytest.raises(InvalidSetting, match=f"BGTASKS_{name}: .*bgtasks settings"):
        Settings.load()


def test_all_values_that_cannot_be_read_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGTASKS_KA_ENABLED", "perhaps")
    monkeypatch.setenv("BGTASKS_STOP_TIMEOUT", "soon")

    with pytest.raises(InvalidSetting, match=r"(?s)BGTASKS_STOP_TIMEOUT: .*BGTASKS_KA_ENABLED: "):
        Settings.load()


def test_a_dot_env_file_that_is_no_text_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"BGTASKS_NAMESPACE=caf\xe9\n")

    with pytest.raises(InvalidSetting, match=r"\.env"):
        Settings.load()


def test_secrets_are_in_no_representation_and_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGTASKS_REDIS_URL", "redis://me:geheim@host:6379/0")
    monkeypatch.setenv("BGTASKS_FALKORDB_URL", "rediss://me:geheim@graph:6379/0")
    settings = Settings.load()

    for shown in (repr(settings), str(settings), f"{settings.redis_url}", str(settings.model_dump())):
        assert "geheim" not in shown
    assert "geheim" not in settings.model_dump_json()
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://me:geheim@host:6379/0"

    monkeypatch.setenv("BGTASKS_STOP_TIMEOUT", "soon")
    with pytest.raises(InvalidSetting) as caught:
        Settings.load()
    assert "geheim" not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert caught.value.__suppress_context__


def test_a_setting_cannot_be_changed() -> None:
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.namespace = "other"


def test_a_task_that_names_a_flag_that_is_no_setting_is_an_error_with_the_nearest_one(
    registry: Registry,
) -> None:
    settings = Settings.load()
    assert isinstance(settings, StrictConfig)

    @background_task("1h", opt_in_config_flag="starwiki_enable", registry=registry)
    async def lint() -> None: ...

    with pytest.raises(InvalidSetting, match=r"no starwiki_enable: did you mean starwiki_enabled\?"):
        build_scheduler(config=settings, registry=registry)


@pytest.mark.parametrize("config", [None, SimpleNamespace(namespace="theirs"), {"namespace": "theirs"}])
def test_the_namespace_comes_from_the_environment_unless_config_is_our_settings(
    monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    assert namespace_of(config) == "bgtasks"
    monkeypatch.setenv("BGTASKS_NAMESPACE", "mybot")
    assert namespace_of(config) == "mybot"
    assert namespace_of(Settings.load(namespace="given")) == "given"


def test_a_namespace_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BGTASKS_NAMSPACE", "mybot")

    with pytest.raises(InvalidSetting, match="did you mean BGTASKS_NAMESPACE"):
        namespace_of(None)
