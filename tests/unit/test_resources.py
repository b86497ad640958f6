"""What the settings name is opened; what they do not name is absent, with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bgtasks import BotRunner, Registry, build_scheduler, build_supervisor
from bgtasks import resources as resources_module
from bgtasks.contracts import Absent
from bgtasks.errors import ConfigurationError, EmbeddedServerError
from bgtasks.graph import KnowledgeGraph
from bgtasks.llm import OpenAIChat
from bgtasks.resources import NO_MODEL, NO_REDIS, Resources, open_resources
from bgtasks.settings import Settings
from bgtasks.tasks import auto_kg_extraction, embedding_worker, limbic_anchoring_task

NOBODY = SecretStr("redis://127.0.0.1:1")
LLM = {"llm_url": "http://127.0.0.1:1/v1", "llm_model": "some/model", "llm_key": SecretStr("sk-s3cret")}


def settings(**given: Any) -> Settings:
    """These, and the rest as it is by default."""
    return Settings.model_construct(**given)


def reasons(held: Resources, own: Settings, registry: Registry) -> dict[str, str | None]:
    """Why the tasks of the knowledge graph do not run with these."""
    registry.add(auto_kg_extraction, embedding_worker, limbic_anchoring_task)
    rows = [*build_scheduler(**held.arguments, config=own, registry=registry).decisions]
    rows += build_supervisor(**held.arguments, config=own, registry=registry).decisions
    return {row.name: row.reason for row in rows if "BackgroundScheduler" not in (row.reason or "")}


async def test_without_a_server_everything_is_absent_and_says_how_to_name_one() -> None:
    async with open_resources(Settings.model_construct()) as held:
        assert isinstance(held.redis, Absent)
        assert isinstance(held.kg_manager, Absent)
        assert held.redis.reason == held.kg_manager.reason == NO_REDIS


async def test_a_graph_may_be_there_without_a_redis_beside_it() -> None:
    async with open_resources(Settings.model_construct(falkordb_url=NOBODY)) as held:
        assert isinstance(held.redis, Absent)
        assert isinstance(held.kg_manager, KnowledgeGraph)  # it does not answer yet: its tasks wait


async def test_an_unreachable_redis_is_no_error_when_it_is_not_to_be_checked() -> None:
    async with open_resources(Settings.model_construct(redis_url=NOBODY), checked=False) as held:
        assert not isinstance(held.redis, Absent)
        assert isinstance(held.kg_manager, KnowledgeGraph)
        assert held.trouble is not None
        assert "redis is unavailable" in str(held.trouble)


class TestTheEmbeddedServer:
    @pytest.mark.parametrize(
        ("url", "directory"),
        [
            ("embedded", "/default"),
            ("embedded:", "/default"),
            ("embedded://", "/default"),
            ("embedded:///", "/default"),
            ("embedded:///srv/a", "/srv/a"),
            ("embedded:/srv/a", "/srv/a"),
            ("embedded:///srv/a#b?c", "/srv/a#b?c"),
            ("embedded:///srv/a%20%23%25", "/srv/a #%"),
        ],
    )
    async def test_keeps_its_data_where_the_url_says(
        self, url: str, directory: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def server(data_dir: Path) -> Any:
            raise EmbeddedServerError(f"asked for {data_dir}")

        monkeypatch.setattr("bgtasks.embedded.EmbeddedServer", server)
        own = settings(redis_url=SecretStr(url), data_dir=Path("/default"))
        with pytest.raises(EmbeddedServerError, match=f"^asked for {re.escape(directory)}$"):
            async with open_resources(own):
                pass

    @pytest.mark.parametrize(
        "url", ["embedded://data", "embedded://data/redis", "embedded://./data", "embedded:data"]
    )
    async def test_is_not_started_where_the_url_names_no_absolute_path(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"embedded:///absolute/path, or embedded:// for the"):
            async with open_resources(settings(redis_url=SecretStr(url))):
                pass


class TestTheModel:
    async def test_is_absent_where_none_is_named(self) -> None:
        async with open_resources(settings(redis_url=NOBODY), checked=False) as held:
            assert isinstance(held.openrouter, Absent)
            assert held.openrouter.reason == NO_MODEL

    async def test_is_a_client_that_is_closed_with_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed: list[OpenAIChat] = []

        async def aclose(self: OpenAIChat) -> None:
            closed.append(self)

        monkeypatch.setattr(OpenAIChat, "aclose", aclose)
        async with open_resources(settings(redis_url=NOBODY, **LLM), checked=False) as held:
            assert isinstance(held.openrouter, OpenAIChat)
            assert "s3cret" not in repr(held.openrouter)
            assert closed == []
        assert closed == [held.openrouter]

    @pytest.mark.parametrize("redis", [None, NOBODY])
    async def test_without_a_url_is_one_error_that_names_the_setting(self, redis: SecretStr | None) -> None:
        with pytest.raises(ConfigurationError, match=r"BGTASKS_LLM_MODEL names a model.* BGTASKS_LLM_URL"):
            async with open_resources(settings(redis_url=redis, llm_model="some/model"), checked=False):
                pass

    async def test_under_a_cap_needs_a_redis_to_count_in(self) -> None:
        with pytest.raises(ConfigurationError, match=r"BGTASKS_LLM_DAY_TOKENS sets a cap.*BGTASKS_REDIS_URL"):
            async with open_resources(settings(llm_day_tokens=1000, **LLM)):
                pass

    async def test_whose_package_is_not_installed_is_absent_and_names_the_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resources_module, "find_spec", lambda _: None)
        async with open_resources(settings(redis_url=NOBODY, **LLM), checked=False) as held:
            assert isinstance(held.openrouter, Absent)
            assert "pip install 'bgtasks[memory]'" in held.openrouter.reason


class TestTheRunner:
    async def test_has_what_the_process_has(self) -> None:
        own = settings(redis_url=NOBODY, llm_embedding_model="small", channel_messages=500, **LLM)
        async with open_resources(own, checked=False) as held:
            runner = held.bot_runner
            assert isinstance(runner, BotRunner)
            assert runner.redis is held.redis
            assert runner.kg_manager is held.kg_manager
            assert runner.openrouter is held.openrouter
            assert runner.cfg is own
            assert runner.adapters == {}

    @pytest.mark.parametrize(
        ("more", "queues"),
        [
            ({}, False),
            ({"llm_embedding_model": "small"}, False),
            ({"llm_model": "m", "llm_embedding_model": "s"}, True),
        ],
    )
    async def test_has_messages_wait_for_vectors_only_where_something_can_make_them(
        self, more: dict[str, Any], queues: bool
    ) -> None:
        own = settings(redis_url=NOBODY, llm_url="http://127.0.0.1:1/v1", **more)
        async with open_resources(own, checked=False) as held:
            assert not isinstance(held.bot_runner, Absent)
            assert (held.bot_runner.message_cache._queue is not None) is queues

    async def test_is_absent_without_a_redis(self) -> None:
        async with open_resources(settings(falkordb_url=NOBODY)) as held:
            assert isinstance(held.bot_runner, Absent)
            assert held.bot_runner.reason == NO_REDIS


class TestWhatTasksSay:
    async def test_with_everything_they_run(self, registry: Registry) -> None:
        own = settings(redis_url=NOBODY, ka_enabled=True, llm_embedding_model="small", **LLM)
        async with open_resources(own, checked=False) as held:
            assert set(reasons(held, own, registry).values()) == {None}

    async def test_without_a_model_they_name_the_settings(self, registry: Registry) -> None:
        own = settings(redis_url=NOBODY, ka_enabled=True)
        async with open_resources(own, checked=False) as held:
            said = reasons(held, own, registry)
        assert said["auto_kg_extraction"] == f"needs openrouter: {NO_MODEL}"
        assert said["limbic_anchoring_task"] == f"bot_runner has no openrouter: {NO_MODEL}"

    async def test_without_one_for_vectors_no_vectors_are_made(self, registry: Registry) -> None:
        own = settings(redis_url=NOBODY, **LLM)
        async with open_resources(own, checked=False) as held:
            said = reasons(held, own, registry)
        assert said["auto_kg_extraction"] is None
        assert (said["embedding_worker"] or "").startswith("openrouter has no embedding_model")

    async def test_without_a_graph_the_leaders_worker_says_why(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def no_graph(*_: Any, **__: Any) -> Absent:
            return Absent("the graph server is being moved")

        monkeypatch.setattr(resources_module, "_open_graph", no_graph)
        own = settings(redis_url=NOBODY, ka_enabled=True, **LLM)
        async with open_resources(own, checked=False) as held:
            said = reasons(held, own, registry)
        assert said["auto_kg_extraction"] == "needs kg_manager: the graph server is being moved"
        assert said["limbic_anchoring_task"] == (
            "bot_runner has no kg_manager: the graph server is being moved"
        )
