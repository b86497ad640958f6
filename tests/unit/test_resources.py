"""What the settings name is opened; what they do not name is absent, with the reason."""

from __future__ import annotations

from pydantic import SecretStr

from bgtasks.contracts import Absent
from bgtasks.graph import KnowledgeGraph
from bgtasks.resources import NO_REDIS, open_resources
from bgtasks.settings import Settings

NOBODY = SecretStr("redis://127.0.0.1:1")


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
