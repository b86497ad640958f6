"""What a bulk pass worked on, in files: a directory for each pass, of which the latest are kept.

```
<directory>/20260901T071217.123456Z/
  0001-<channel>.json    a batch: its messages, and what was learned from them once that is applied
```
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bgtasks.errors import ConfigurationError
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.progress import Applied

__all__ = ["Dump"]

_STAMP = "%Y%m%dT%H%M%S.%fZ"
_DUMP = re.compile(r"\d{8}T\d{6}\.\d{6}Z")


class Dump:
    """The record of one pass. Nothing is written before its first batch.

    Args:
        directory: Where the records of all passes are; made if it is missing.
        now: When the pass began: the name of its record.
        keep: Records that are kept, this one included; the oldest go. Nothing else in there is touched.

    Raises:
        ConfigurationError: From its methods: the directory cannot be written.
    """

    def __init__(self, directory: Path, now: datetime, *, keep: int) -> None:
        self.path = directory / now.astimezone(UTC).strftime(_STAMP)
        self._directory = directory
        self._keep = keep
        self._count = 0

    async def batch(self, batch: Batch) -> None:
        """Note the messages that are about to be read."""
        if not self._count:
            await self._do(self._begin)
        self._count += 1
        await self._do(self._write, batch, None)

    async def applied(self, applied: Applied) -> None:
        """Note what was learned from them."""
        if applied.batch.messages:
            await self._do(self._write, applied.batch, applied)

    async def _do(self, work: Any, *args: Any) -> None:
        try:
            await asyncio.to_thread(work, *args)
        except OSError as error:
            raise ConfigurationError(
                f"{self._directory} cannot be written: {error.strerror or error}; "
                "set BGTASKS_KG_BULK_DIR to a directory that can"
            ) from error

    def _begin(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = [each for each in self._directory.iterdir() if _DUMP.fullmatch(each.name)]
        others = sorted(each for each in others if each.name != self.path.name)
        for old in others[: max(0, len(others) + 1 - self._keep)]:
            shutil.rmtree(old, ignore_errors=True)

    def _write(self, batch: Batch, applied: Applied | None) -> None:
        name = re.sub(r"[^\w.-]+", "_", batch.channel)[:60]
        record: dict[str, Any] = {
            "channel": batch.channel,
            "upto": batch.upto,
            "context": [_message(each) for each in batch.context],
            "messages": [_message(each) for each in batch.messages],
        }
        if applied is not None:
            learned = applied.learned
            record["dead"] = applied.dead
            record["dropped"] = learned.dropped
            record["entities"] = [asdict(each) for each in learned.nodes]
            record["facts"] = [asdict(each) for each in learned.edges]
        path = self.path / f"{self._count:04d}-{name}.json"
        text = json.dumps(record, ensure_ascii=False, indent=1)
        path.write_text(text, encoding="utf-8", errors="replace")


def _message(message: Any) -> Mapping[str, Any]:
    return {"id": message.id, "author": message.author, "ts": message.ts.isoformat(), "text": message.text}
