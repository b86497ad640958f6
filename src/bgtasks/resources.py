"""From settings to resources: what this process can give its tasks, and why it cannot give the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from bgtasks.contracts import Absent
from bgtasks.errors import (
    BgTasksError,
    ConfigurationError,
    MissingCommand,
    MissingExtra,
    ResourceUnavailable,
    UnsuitableServer,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bgtasks.graph import KnowledgeGraph
    from bgtasks.llm import OpenAIChat
    from bgtasks.memory.embedding_queue import EmbeddingQueue
    from bgtasks.memory.messages import MessageCache
    from bgtasks.settings import Settings

__all__ = ["NO_MODEL", "NO_REDIS", "Resources", "Runner", "open_resources"]

NO_REDIS = (
    "no Redis is configured; set BGTASKS_REDIS_URL (or give --redis) to redis://host:6379/0, "
    'or to "embedded" for one that is started here'
)


NO_MODEL = "no LLM is configured; set BGTASKS_LLM_URL, BGTASKS_LLM_KEY and BGTASKS_LLM_MODEL"


@dataclass(frozen=True, slots=True)
class Runner:
    """What a process of ours gives to tasks that ask for a host's bot: all it has, and no bot.

    Attributes:
        adapters: Empty: a host's program that talks to people gives its own runner.
    """

    cfg: Settings
    redis: Redis
    kg_manager: KnowledgeGraph | Absent
    openrouter: OpenAIChat | Absent
    message_cache: MessageCache
    embedding_queue: EmbeddingQueue
    adapters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process has: each either usable, or `Absent` with the reason.

    Attributes:
        trouble: Why Redis cannot serve at the moment, if it was to be opened all the same.
        fresh: Whether nobody else can be at work on that Redis: an embedded one that had no other user.
    """

    redis: Redis | Absent
    kg_manager: KnowledgeGraph | Absent
    openrouter: OpenAIChat | Absent
    bot_runner: Runner | Absent
    trouble: BgTasksError | None = None
    fresh: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The resources as `build_scheduler` takes them."""
        return {
            "redis": self.redis,
            "kg_manager": self.kg_manager,
            "openrouter": self.openrouter,
            "bot_runner": self.bot_runner,
        }


@asynccontextmanager
async def open_resources(settings: Settings, *, checked: bool = True) -> AsyncIterator[Resources]:
    """Open what the settings name; closed, in reverse order, when the block ends.

    Args:
        settings: Which servers there are.
        checked: Whether Redis is asked if it can serve. Without it an unreachable server is no error:
            what needs it waits until it answers.

    Raises:
        ResourceUnavailable: Redis does not answer within three seconds (only if `checked`).
        UnsuitableServer: What answers is not a Redis that can serve us (only if `checked`).
        MissingExtra: The embedded server was asked for and is not installed.
        EmbeddedServerError: The embedded server could not be started.
        ConfigurationError: A URL cannot be read, or the settings of the LLM do not fit together.
    """
    async with AsyncExitStack() as stack:
        url = settings.redis_url.get_secret_value() if settings.redis_url else None
        if url is None:
            none = Absent(NO_REDIS)
            alone = await _open_graph(settings, None, stack) if settings.falkordb_url else none
            yield Resources(none, alone, _open_llm(settings, None, stack), none)
            return
        from bgtasks.connect import check, open_redis

        why_no_graph, fresh = None, False
        if is_embedded(url):
            from bgtasks.embedded import EmbeddedServer

            server = await stack.enter_async_context(EmbeddedServer(_directory(url, settings.data_dir)))
            url, why_no_graph, fresh = server.url, server.graph_reason, server.alone
        client = open_redis(url)
        stack.push_async_callback(client.aclose)
        trouble: BgTasksError | None = None
        try:
            await check(client)
        except (ResourceUnavailable, UnsuitableServer) as error:
            if checked:
                raise
            trouble = error
        graph: KnowledgeGraph | Absent
        if why_no_graph is not None:
            graph = Absent(why_no_graph)
        else:
            graph = await _open_graph(settings, url, stack, known_down=trouble is not None)
        llm = _open_llm(settings, client, stack)
        yield Resources(client, graph, llm, _runner(settings, client, graph, llm), trouble, fresh)


def _runner(
    settings: Settings, redis: Redis, graph: KnowledgeGraph | Absent, llm: OpenAIChat | Absent
) -> Runner:
    from bgtasks.memory.embedding_queue import EmbeddingQueue
    from bgtasks.memory.messages import MessageCache

    queue = EmbeddingQueue(redis, settings.namespace)
    # Where nothing can make vectors, nothing is to wait for them.
    makes = not isinstance(llm, Absent) and not isinstance(llm.embedding_model, Absent)
    embedded = queue if makes else None
    cache = MessageCache(redis, settings.namespace, cap=settings.channel_messages, embedding_queue=embedded)
    return Runner(settings, redis, graph, llm, cache, queue)


def _open_llm(settings: Settings, redis: Redis | None, stack: AsyncExitStack) -> OpenAIChat | Absent:
    if not settings.llm_model:
        return Absent(NO_MODEL)
    from bgtasks.llm import OpenAIChat

    client = OpenAIChat.from_settings(settings, redis)
    if find_spec("openai") is None:  # it is imported with the first call: too late to say so
        return Absent(str(MissingExtra("the LLM client", "memory")))
    stack.push_async_callback(client.aclose)
    return client


def is_embedded(url: str) -> bool:
    """Whether the URL asks for the embedded server: `embedded`, or `embedded:///path/to/data`."""
    return url == "embedded" or url.startswith("embedded:")


def _directory(url: str, default: Path | None) -> Path | None:
    # Not urlsplit: # and ? are parts of a path here.
    path = url.removeprefix("embedded").removeprefix(":").removeprefix("//")
    if not path.strip("/"):
        return default
    if not path.startswith("/"):
        raise ConfigurationError(
            "the URL of the embedded Redis names no absolute path: write embedded:///absolute/path, "
            "or embedded:// for the default directory"
        )
    return Path(unquote(path))


async def _open_graph(
    settings: Settings, redis_url: str | None, stack: AsyncExitStack, *, known_down: bool = False
) -> KnowledgeGraph | Absent:
    from bgtasks.graph import KnowledgeGraph

    own = settings.falkordb_url.get_secret_value() if settings.falkordb_url else None
    url = own or redis_url
    assert url is not None, "one of the two is set"
    graph = KnowledgeGraph(url, settings.graph_name)
    stack.push_async_callback(graph.aclose)
    if known_down and own is None:
        return graph  # the same server; it connects when that comes
    try:
        await graph.check()
    except ResourceUnavailable:
        return graph
    except MissingCommand:
        where = "BGTASKS_FALKORDB_URL" if own else "BGTASKS_REDIS_URL"
        return Absent(
            f"the server at {where} has no FalkorDB module; set BGTASKS_FALKORDB_URL to one that has"
        )
    except BgTasksError as error:
        return Absent(str(error))
    return graph
