"""Whether every false signature had its consequence, and nobody suffered one without (R35)."""

from collections.abc import Sequence

from events.chain import Disagreement
from events.records import AccountSuspended, Event, Frozen, SignaturesChecked
from events.requests import Request
from events.subjects import INTAKE
from exchange.state import State


class Accusations:
    """False signatures, and what was said of them. Told of each after it was decided, in the log's order.

    A false signature in the name of an account that can act must lead to a `suspend` of it; one `suspend`
    does for all that were false by then. Those of unknown and of suspended accounts are refused by
    themselves. O(false signatures of accounts that could act) memory.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._false: dict[str, set[int]] = {}
        self._open: dict[str, int] = {}  # account: its first false request that nobody was suspended for

    def found(self, sequence: int, account: str) -> None:
        """A false signature in an account's name."""
        if self._can_act(account):
            self._false.setdefault(account, set()).add(sequence)
            self._open.setdefault(account, sequence)

    def heard(self, request: Request, events: Sequence[Event]) -> None:
        """A `suspend` or `checked`, and what followed from it. Raises Disagreement."""
        terms = self._state.terms
        if terms is None or request.account != terms.exchange:
            return
        if request.kind == "suspend":
            account, sequence = request.body["account"], request.body["request"]
            if sequence in self._false.get(account, ()):
                self._open.pop(account, None)
            elif any(isinstance(event, AccountSuspended | Frozen) for event in events):
                what = (
                    f"it accuses {account} of a false signature at request {sequence}, which has none of its"
                )
                raise Disagreement(INTAKE, request.sequence, what)
        for event in events:
            if isinstance(event, SignaturesChecked):
                self.close(event.through)

    def is_open(self, through: int) -> bool:
        """Whether up to here there is one that nobody has named."""
        return any(sequence <= through for sequence in self._open.values())

    def close(self, through: int) -> None:
        """Up to here every false signature must have been named. Raises Disagreement."""
        named = [(sequence, account) for account, sequence in self._open.items() if sequence <= through]
        if named:
            sequence, account = min(named)
            what = f"this request is not signed by {account}, and no account_suspended names it"
            raise Disagreement(INTAKE, sequence, what)

    def _can_act(self, account: str) -> bool:
        state = self._state
        if state.terms is not None and account in (state.terms.operator, state.terms.exchange):
            return True
        return account in state.accounts and account not in state.suspended
