"""Reads a stream on an event loop, for a test that goes from one reading to the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from exporter.comfycontrol import LiveStream, SnapshotReading, Stream, StreamEnding

if TYPE_CHECKING:
    from collections.abc import Iterator


class OnALoop:
    """A stream that is read as it is iterated over."""

    def __init__(self, stream: Stream) -> None:
        self._loop = asyncio.new_event_loop()
        self.stream = self._loop.run_until_complete(self._make(stream))

    async def _make(self, stream: Stream) -> LiveStream:
        return LiveStream(stream)

    def __iter__(self) -> Iterator[SnapshotReading]:
        try:
            while (reading := self._loop.run_until_complete(anext(self.stream, None))) is not None:
                yield reading
        finally:
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stream.close()

    @property
    def ending(self) -> StreamEnding | None:
        return self.stream.ending

    @property
    def updates(self) -> int:
        return self.stream.updates
