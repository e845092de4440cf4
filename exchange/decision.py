"""A decision in the making: the state, market time, and the events so far."""

from events import records as r
from exchange.state import State


class Refusal(Exception):  # noqa: N818 - the market's word
    """A request is refused; `code` is `rule/member/reason`. Raised before anything is emitted."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Decision:
    """What one request leads to. `emit` folds each event at once, so that the next step sees it.

    `now_us` is market time, `tick_us` the stored time of the newest tick of this epoch (0: none yet);
    both run ahead of the state's, which moves with the next event.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.now_us, self.tick_us = state.now_us, state.tick_us
        self.events: list[r.Event] = []

    def emit(self, event: r.Event) -> None:
        """It happened, now."""
        self.settle_clock()
        self._take(event)

    def settle_clock(self) -> None:
        """Let the state's clock follow, if market time moved since its last event."""
        if (self.now_us, self.tick_us) != (self.state.now_us, self.state.tick_us):
            self._take(r.ClockMoved(self.now_us, self.tick_us))

    def _take(self, event: r.Event) -> None:
        self.state.fold(event)
        self.events.append(event)

    @property
    def terms(self) -> r.MarketOpened:
        """The market's terms; it is open."""
        assert self.state.terms is not None
        return self.state.terms
