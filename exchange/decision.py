"""A decision in the making: the state, market time, and the events so far."""

from dataclasses import dataclass

from events import records as r
from exchange.state import State


class Refusal(Exception):  # noqa: N818 - the market's word
    """A request is refused; `code` is `rule/member/reason`. Raised before anything is emitted."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NewerRulesError(Exception):
    """The log asks for rules that this program does not know; it must not go on."""


@dataclass(slots=True)
class Outcome:
    """What an answer says besides its code (`Answered`)."""

    order: int = 0
    matched: list[list[int]] | None = None
    rests: int = 0
    hourly: int = 0


class Decision:
    """What one request leads to. `emit` folds each event at once, so that the next step sees it.

    `now_us` is market time, `tick_us` the stored time of the newest tick of this epoch (0: none yet);
    both run ahead of the state's, which moves with the next event.
    """

    __slots__ = ("events", "now_us", "state", "tick_us")

    def __init__(self, state: State) -> None:
        self.state = state
        self.now_us, self.tick_us = state.now_us, state.tick_us
        self.events: list[r.Event] = []

    def emit(self, event: r.Event) -> None:
        """It happened, now."""
        state = self.state
        if self.now_us != state.now_us or self.tick_us != state.tick_us:
            self._take(r.ClockMoved(self.now_us, self.tick_us))
        state.fold(event)
        self.events.append(event)

    def settle_clock(self) -> None:
        """Let the state's clock follow, if market time moved since its last event."""
        if self.now_us != self.state.now_us or self.tick_us != self.state.tick_us:
            self._take(r.ClockMoved(self.now_us, self.tick_us))

    def _take(self, event: r.Event) -> None:
        self.state.fold(event)
        self.events.append(event)

    @property
    def terms(self) -> r.MarketOpened:
        """The market's terms; it is open."""
        assert self.state.terms is not None
        return self.state.terms
