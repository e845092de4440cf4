"""Who is heard: heartbeats in, reports to the market out (R16, R19, R20). Times are time.monotonic()."""

from events.subjects import CLIENT
from exchange.state import State

Party = tuple[str, str]  # account, and a machine's name or `client`
MOST_PARTIES = 200_000
REPORT_AGAIN_S = 2.0  # a report that the market has not acted on is made again after this
MOST_IN_REPORT = 500


class Presence:
    """Compares what is heard with what the market believes.

    Silence counts only while time passes: `pause` is called in a freeze and before the first tick, and
    gives everyone the full lost-after time again.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._heard: dict[Party, float] = {}
        self._reported: dict[Party, float] = {}

    def hear(self, party: Party, now: float) -> None:
        """A heartbeat. Unknown parties take no memory."""
        account, name = party
        known = account in self._state.accounts if name == CLIENT else party in self._state.machines
        if known and (party in self._heard or len(self._heard) < MOST_PARTIES):
            self._heard[party] = now

    def forget(self, party: Party) -> None:
        """The market has lost a party (it left, or was silent): only a new heartbeat brings it back."""
        self._heard.pop(party, None)

    def pause(self, now: float) -> None:
        """Everyone who was ever heard, and everyone the market believes present, counts as heard now."""
        for party in self._believed():
            self._heard[party] = now

    def _believed(self) -> list[Party]:
        state = self._state
        clients = [(key, CLIENT) for key, account in state.accounts.items() if account.present]
        return clients + [key for key, machine in state.machines.items() if machine.ready]

    def reports(self, now: float, lost_after_s: float) -> tuple[list[Party], list[Party]]:
        """(lost, back): what the market should be told now. O(parties).

        Who falls silent together is told together (R19), though heartbeats come at different moments: the
        first to be overdue is told a quarter of the lost-after time later, with all who followed.
        """
        believed = set(self._believed())
        missing = {(account, party) for account, party in self._state.ill}
        silent = {party: now - self._heard.get(party, 0.0) for party in sorted(believed)}
        lost = [party for party, seconds in silent.items() if seconds > lost_after_s]
        if lost and max(silent.values()) < lost_after_s * 1.25:
            lost = []
        recent = (p for p, heard in self._heard.items() if now - heard <= lost_after_s)
        back = sorted(p for p in recent if p not in believed or p in missing)
        return self._fresh(lost, now), self._fresh(back, now)

    def _fresh(self, parties: list[Party], now: float) -> list[Party]:
        """Those not reported just now."""
        found = [p for p in parties if now - self._reported.get(p, -REPORT_AGAIN_S) >= REPORT_AGAIN_S]
        for party in found[:MOST_IN_REPORT]:
            self._reported[party] = now
        return found[:MOST_IN_REPORT]
