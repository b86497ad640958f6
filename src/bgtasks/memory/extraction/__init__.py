"""Extraction: what conversations state, as entities and facts in the graph, each message exactly once."""

from bgtasks.memory.extraction.engine import Extractor
from bgtasks.memory.extraction.one_call import OneCall
from bgtasks.memory.extraction.progress import Applied, Progress
from bgtasks.memory.extraction.reader import Reader

__all__ = ["Applied", "Extractor", "OneCall", "Progress", "Reader"]
