"""The market: `decide` makes events of a request. A pure function of the requests in their order (R34).

No I/O, no clock, no random number, no float. Whoever rebuilds the state from events uses `State.fold`.
"""

import hashlib
from collections.abc import Callable

from events import records as r
from events.requests import KINDS, Request
from exchange.decision import Decision, Outcome, Refusal
from exchange.entities import MOST_SESSIONS
from exchange.handlers import ASKED_BY_EXCHANGE, ASKED_BY_OTHERS
from exchange.hour import match
from exchange.orders import ORDERS, alone, many
from exchange.state import State

OTHERS: dict[str, Callable[[Decision, Request], Outcome]] = ASKED_BY_OTHERS | dict.fromkeys(ORDERS, alone)


class Engine:
    """Decides requests one by one. `state` is what it knows; nobody else changes it.

    A state that was rebuilt, from events or rows, stands between two requests.
    """

    def __init__(self, state: State | None = None) -> None:
        self.state = state if state is not None else State()
        self.state.tell_reputations()
        if not (self.state.frozen or self.state.halted):
            self.state.book.settled()  # what could match then has matched
        self.now_us, self.tick_us = self.state.now_us, self.state.tick_us

    def decide(self, request: Request) -> list[r.Event]:
        """The events that a request leads to, folded already; none where nothing changes.

        O(log orders) for an order that does not match, and as much for each match.
        """
        d = Decision(self.state)
        d.now_us, d.tick_us = self.now_us, self.tick_us
        own = None if request.refusal else ASKED_BY_EXCHANGE.get(request.kind)
        if own is not None and self._is_exchange(request):
            own(d, request)
        else:
            self._answer(d, request)
        if d.events and self.state.terms is not None:
            match(d)
            d.settle_clock()
        self.now_us, self.tick_us = d.now_us, d.tick_us
        return d.events

    def _is_exchange(self, request: Request) -> bool:
        return self.state.terms is not None and request.account == self.state.terms.exchange

    def _answer(self, d: Decision, request: Request) -> None:
        """Do what a trader or operator asks, once, and answer (R12)."""
        content = hashlib.sha256(request.kind.encode() + b"\n" + request.content).hexdigest()[:32]
        account, session, number = request.account, request.session, request.number
        known = account in self.state.accounts
        opening = request.kind == "open" and self.state.terms is None and not request.refusal
        if not (known or opening):
            session = number = 0
        code, outcome = request.refusal, Outcome()
        if number:
            said, code = self._said_before(account, session, number, content, code)
            if said is not None:
                d.emit(said)
                return
            if code in ("R12/number/other-content", "R12/number/old", "R12/session/old"):
                session = number = 0  # answered, and remembered nowhere
        if not code:
            try:
                self._check_role(request)
                if request.kind == "orders":
                    answers = many(d, request)
                    d.emit(r.OrdersAnswered(account, session, number, content, answers))
                    return
                outcome = OTHERS[request.kind](d, request)
            except Refusal as refusal:
                code = refusal.code
        assert not (code and d.events), (code, d.events)
        d.emit(
            r.Answered(
                account, session, number, content, code,
                outcome.order, outcome.matched, outcome.rests, outcome.hourly,
            )
        )  # fmt: skip

    def _check_role(self, request: Request) -> None:
        terms, kind = self.state.terms, KINDS[request.kind]
        if terms is None:
            if request.kind != "open":
                raise Refusal("R33/market/not-open")
        elif request.account not in self.state.accounts:
            raise Refusal("R2/account/unknown")
        elif kind.role == "operator" and request.account != terms.operator:
            raise Refusal("R21/operator/not-yours")
        elif kind.role == "exchange":
            raise Refusal("R35/exchange/not-yours")
        elif request.account in self.state.suspended:
            raise Refusal("R35/account/suspended")

    def _said_before(
        self, account: str, session: int, number: int, content: str, code: str
    ) -> tuple[r.Answered | r.OrdersAnswered | None, str]:
        """(the answer that this request got before, else None; the code so far)."""
        sessions = self.state.sessions.get(account)
        if not sessions:
            return None, code
        found = sessions.get(session)
        if found is None:
            too_old = len(sessions) >= MOST_SESSIONS and session < sessions.peekitem(0)[0]
            return None, "R12/session/old" if too_old else code
        answer = found.answers.get(number)
        if answer is not None:
            return (answer, code) if answer.content == content else (None, "R12/number/other-content")
        return None, "R12/number/old" if found.is_old(number) else code
