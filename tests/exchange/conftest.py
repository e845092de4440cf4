"""The restartable server of the log's own tests."""

from tests.events.conftest import server

__all__ = ["server"]
