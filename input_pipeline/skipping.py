"""Pairs of which a few may be damaged."""

import threading
from typing import Any

from absl import logging

from input_pipeline.example import Example
from input_pipeline.sources import PairSource


class TooManyDamagedError(OSError):
    """More images of a training set cannot be read than may be skipped."""


class SkippingPairs:
    """Gives, in place of a pair that cannot be decoded, the next one that can.

    Which pair that is depends on the files alone: batches stay the same in every process and after
    resuming. Each damaged pair is named once, and counted.

    Args:
        source: The pairs.
        limit: Most pairs to skip.
    """

    def __init__(self, source: PairSource, limit: int) -> None:
        self._source, self._limit = source, limit
        self._damaged: dict[int, str] = {}
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        for offset in range(len(self)):
            candidate = (index + offset) % len(self)
            if candidate in self._damaged:
                continue
            try:
                return self._source[candidate]
            except ValueError as error:  # the file itself; what a disk refuses is an OSError
                self._skip(candidate, error)
        raise TooManyDamagedError(f"no training image can be read; the last: {self._last()}")

    def __getstate__(self) -> dict[str, Any]:
        return {"_source": self._source, "_limit": self._limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_source"], state["_limit"])

    def fingerprint(self) -> str:
        """See `PairSource.fingerprint`."""
        return self._source.fingerprint()

    def _skip(self, index: int, error: ValueError) -> None:
        with self._guard:
            if index in self._damaged:
                return
            self._damaged[index] = " ".join(str(error).split())
            count = len(self._damaged)
        if count > self._limit:
            raise TooManyDamagedError(
                f"{count} training images cannot be read, and at most {self._limit} are skipped "
                f"(data.max_damaged); the last: {self._last()}; replace or remove them, then run "
                "the same command again to continue"
            ) from error
        logging.warning(
            "skipping a training image (%d of at most %d): %s", count, self._limit, self._last()
        )

    def _last(self) -> str:
        return list(self._damaged.values())[-1]
