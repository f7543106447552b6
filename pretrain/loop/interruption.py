"""Stopping long work at a good place when it is interrupted."""

import signal
from typing import Any


class Interruption:
    """Context manager that turns the first Ctrl-C or SIGTERM into a request to stop at a good place; the second stops.

    An exception raised by a signal can surface anywhere, and where Python calls back from C code it is lost; a request
    is not.

    Args:
        at_once: Whether the first one stops too, for callers in which its exception cannot be lost.

    Attributes:
        requested: Whether a stop was asked for.
    """

    requested = False

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once

    def __enter__(self) -> "Interruption":
        def request(*_: object) -> None:
            again, self.requested = self.requested, True
            if again or self.at_once:
                raise KeyboardInterrupt

        self._previous: dict[int, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, request)
            except ValueError:  # not the main thread: the caller handles signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
