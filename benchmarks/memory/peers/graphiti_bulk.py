"""graphiti-core on FalkorDB, by its call for many episodes."""

from __future__ import annotations

from collections.abc import Sequence

from graphiti_core.nodes import EpisodeType  # type: ignore[import-not-found]
from graphiti_core.utils.bulk_utils import RawEpisode  # type: ignore[import-not-found]

from benchmarks.memory.conversation import Line
from benchmarks.memory.peers import graphiti

__all__ = ["System"]


class System(graphiti.System):
    """So many episodes at once."""

    step: int | None = 20

    def _call(self) -> str:
        return f"add_episode_bulk for each {self.step} messages (its default: entities and facts in one call)"

    async def add(self, lines: Sequence[Line]) -> None:
        """All in one call."""
        episodes = [
            RawEpisode(
                name=line.id,
                content=f"{line.author}: {line.text}",
                source=EpisodeType.message,
                source_description="a conversation",
                reference_time=line.at,
            )
            for line in lines
        ]
        channel = lines[0].channel
        await self._graphs[channel].add_episode_bulk(episodes, group_id=graphiti.group(channel))
