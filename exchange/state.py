"""The market's state, and `fold`: the one way in which it changes, one event at a time (R34).

Deciding and rebuilding both go through `fold`, so that they cannot differ. The digest tells it.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from sortedcontainers import SortedDict, SortedList

from events import records as r
from events.profile import SCREEN_NUMBERS, Screen
from events.subjects import CLIENT
from exchange import book as books
from exchange.digest import Digest
from exchange.entities import MOST_SESSIONS, Account, Contract, Hour, Machine, Order, Session
from exchange.entries import entry

CONFIRM, EXPIRE, HOUR = 0, 1, 2  # what falls due at one instant, in this order
DAY_HOURS = 24  # votes are taken for so many hours after the charge (R26)


NO_SCREEN = books.Screen()  # what every machine passes
NOTHING_ASKED = Screen()
MARKET = ("market",)  # the key of the market's own entry


class State:
    """Everything that deciding needs. `twin` takes the plain-Python book.

    `dues` is (instant, class, number) of contracts to confirm, orders to expire, hours to end; what ends
    before takes its entry with it. Reading is free to all; only `fold` changes anything.
    """

    def __init__(self, twin: bool = False) -> None:
        self.terms: r.MarketOpened | None = None
        self.rules: int = 1
        self.checked: int = 0  # signatures of requests up to here are checked (R35)
        self.suspended: dict[str, int] = {}  # account: the request that it did not sign
        self.epoch = 0
        self.now_us = 0
        self.tick_us = 0
        self.frozen = ""
        self.halted = ""
        self.self_frozen = False  # the market froze itself (R19) ...
        self.ill: list[list[str]] = []  # ... for want of these machines
        self.bank = 0
        self.fees = 0
        self.accounts: dict[str, Account] = {}
        self.names: dict[str, str] = {}
        self.machines: dict[tuple[str, str], Machine] = {}
        self.machines_of: dict[str, list[Machine]] = {}
        self.orders: dict[int, Order] = {}
        self.contracts: dict[int, Contract] = {}
        self.on_machine: dict[tuple[str, str], set[int]] = {}
        self.hours: OrderedDict[tuple[int, int], Hour] = OrderedDict()  # a dict's front is slow to take from
        self.sessions: dict[str, SortedDict[int, Session]] = {}
        self.dues: SortedList[tuple[int, int, int]] = SortedList()
        self.flags: dict[str, int] = {}
        self.last_order = 0
        self.last_place = 0
        self.last_contract = 0
        self.ready = 0
        self.book = books.make_book(twin)
        self._indices = 0  # of orders in the book: how many were ever taken at once,
        self._free_indices: list[int] = []  # and those that are free again
        self._index: dict[str, int] = {}
        self._stale: set[str] = set()  # accounts of whose new reputation the book does not know yet
        self.digest = Digest(partial(entry, self))
        self._fold: dict[str, Callable[[Any], None]] = {
            kind: getattr(self, f"_on_{kind}") for kind in r.EVENTS
        }

    def fold(self, event: r.Event) -> None:
        """Change the state by one event. O(log orders); a vote O(1), a machine's O(its contracts)."""
        self._fold[event.kind](event)

    def progress(self) -> int:
        """A number that changes, as a rule, with what is folded: who watches sees that it gets on."""
        return hash((self.fees, self.now_us, self.last_order, self.last_contract, len(self.dues)))

    # -- what the book is told

    def index(self, key: str) -> int:
        """The book's number for an account's key, given at its first mention."""
        return self._index.setdefault(key, len(self._index))

    def flag_bits(self, flags: "list[str] | tuple[str, ...]") -> int:
        """Flags as a bit set; new ones are given the next bit."""
        bits = 0
        for flag in flags:
            if flag not in self.flags:
                self.flags[flag] = len(self.flags)
                if self.rules > 1:
                    self.digest.touch(("flag", flag))
            bits |= 1 << self.flags[flag]
        return bits

    def book_screen(self, screen: Screen) -> books.Screen:
        """A screen as the book has it."""
        if not (screen.minimums or screen.flags or screen.only or screen.blocked):
            return NO_SCREEN
        minimums = [screen.minimums.get(name, books.INT32_MIN) for name in SCREEN_NUMBERS]
        minimums += [books.INT32_MIN] * (books.NUMBERS - len(minimums))
        return books.Screen(
            tuple(minimums),
            self.flag_bits(screen.flags),
            frozenset(self.index(key) for key in screen.only),
            frozenset(self.index(key) for key in screen.blocked),
        )

    def tell_account(self, account: Account) -> None:
        """Tell the book who is there, with how much money. As `Book.set_account`."""
        self.book.set_account(self.index(account.key), account.present, account.free)
        self.digest.touch(("account", account.key))

    def tell_machine(self, machine: Machine) -> None:
        """Tell the book a machine's profile, and whether it is ready. As `Book.set_machine`."""
        numbers = dict(machine.numbers, reputation=self.accounts[machine.account].reputation)
        row = [numbers.get(name, 0) for name in SCREEN_NUMBERS]
        row += [0] * (books.NUMBERS - len(row))
        self.book.set_machine(
            machine.index, self.index(machine.account), row, self.flag_bits(machine.flags), machine.ready
        )
        self.digest.touch(("machine", machine.account, machine.name))

    def tell_reputations(self) -> None:
        """Tell the book what votes have changed; before it matches. O(machines of those voted about)."""
        if self._stale:
            for account in self._stale:
                for machine in self.machines_of.get(account, ()):
                    self.tell_machine(machine)
            self._stale.clear()

    def tell_new_order(self, order: Order) -> None:
        """Tell the book of an order at its place in time. As `Book.add_bid` and `Book.add_ask`."""
        if order.is_bid:
            buyer, screen = self.index(order.account), self.book_screen(order.screen)
            self.book.add_bid(order.slot, buyer, order.price, order.open, order.place, screen)
        else:
            machine = self.machines[order.account, order.machine]
            self.book.add_ask(order.slot, machine.index, order.price, order.open, order.place)

    def _tell_order(self, order: Order) -> None:
        self.book.set_open(order.slot, order.open)
        self.digest.touch(("order", order.number))
        self._claim(order)

    def _claim(self, order: Order) -> None:
        """An ask takes CPUs of its machine until its last contract has ended, closed or not (R6)."""
        claimed = max(order.size, order.running)
        if not order.is_bid and claimed != order.claimed:
            machine = self.machines[order.account, order.machine]
            machine.offered += claimed - order.claimed
            order.claimed = claimed
            self.digest.touch(("machine", machine.account, machine.name))

    def book_id(self, number: int) -> int:
        """An order's id in the book; the book says the number again when it matches (`number_of`)."""
        if self._free_indices:
            return books.order_id(number, self._free_indices.pop())
        self._indices += 1
        return books.order_id(number, self._indices - 1)

    def _forget_if_done(self, order: Order) -> None:
        """An order with nothing to match and nothing running leaves the book."""
        if order.size == 0 and order.running == 0:
            self.book.remove(order.slot)
            del self.orders[order.number]
            self._free_indices.append(books.index_of(order.slot))
            self.digest.touch(("order", order.number))

    # -- money

    def _move(self, event: r.Event) -> None:
        """Do the event's movements (R1). Nobody's purse but the bank's goes below zero."""
        for source, source_purse, target, target_purse, amount in event.movements():
            assert amount >= 0, event
            self._add(source, source_purse, -amount)
            self._add(target, target_purse, amount)

    def _add(self, key: str, purse: str, amount: int) -> None:
        if key == r.BANK:
            self.bank += amount
            self.digest.touch(MARKET)
        elif key == r.FEES:
            self.fees += amount
            self.digest.touch(MARKET)
        else:
            account = self.accounts[key]
            if purse == "free":
                account.free += amount
                assert account.free >= 0, (key, account.free)
                self.tell_account(account)
            else:
                account.held += amount
                assert account.held >= 0, (key, account.held)
                self.digest.touch(("account", key))

    def total(self) -> int:
        """The sum over all accounts, the bank's included; zero always (R1). O(accounts)."""
        return self.bank + self.fees + sum(account.free + account.held for account in self.accounts.values())

    # -- the market as a whole

    def _on_market_opened(self, event: r.MarketOpened) -> None:
        self.terms = event
        self.digest.touch(MARKET)

    def _on_epoch_opened(self, event: r.EpochOpened) -> None:
        self.epoch, self.tick_us = event.epoch, 0
        self.digest.touch(MARKET)

    def _on_clock_moved(self, event: r.ClockMoved) -> None:
        assert event.now_us >= self.now_us, event
        self.now_us, self.tick_us = event.now_us, event.tick_us
        self.digest.touch(MARKET)
        while self.hours:
            key, hour = next(iter(self.hours.items()))
            if hour.until_us > self.now_us:
                break
            del self.hours[key]
            self.digest.touch(("hour", *key))

    def _on_rules_changed(self, event: r.RulesChanged) -> None:
        if self.rules < 2 <= event.version:  # from here on the digest covers the flags
            for flag in self.flags:
                self.digest.touch(("flag", flag))
        self.rules = event.version
        self.digest.touch(("rules",))

    def _on_signatures_checked(self, event: r.SignaturesChecked) -> None:
        self.checked = event.through
        self.digest.touch(("checked",))

    def _on_frozen(self, event: r.Frozen) -> None:
        self.frozen, self.ill, self.self_frozen = event.reason, event.missing, bool(event.missing)
        self.digest.touch(MARKET)

    def _on_unfrozen(self, event: r.Unfrozen) -> None:
        self.frozen, self.ill, self.self_frozen = "", [], False
        self.digest.touch(MARKET)

    def _on_halted(self, event: r.Halted) -> None:
        self.halted = event.reason
        self.digest.touch(MARKET)

    def _on_resumed(self, event: r.Resumed) -> None:
        self.halted = ""
        self.digest.touch(MARKET)

    # -- accounts and parties

    def _on_account_opened(self, event: r.AccountOpened) -> None:
        assert event.account not in self.accounts
        account = self.accounts[event.account] = Account(event.account, event.name)
        self.names[event.name] = event.account
        self.tell_account(account)

    def _on_account_suspended(self, event: r.AccountSuspended) -> None:
        self.suspended[event.account] = event.request
        self.digest.touch(("suspended", event.account))

    def _on_account_reinstated(self, event: r.AccountReinstated) -> None:
        del self.suspended[event.account]
        self.digest.touch(("suspended", event.account))

    def _on_deposited(self, event: r.Deposited) -> None:
        self._move(event)

    def _on_party_back(self, event: r.PartyBack) -> None:
        if event.party == CLIENT:
            account = self.accounts[event.account]
            account.present = True
            self.tell_account(account)
        else:
            self._set_ready(self.machines[event.account, event.party], True)
            self._not_missing(event.account, event.party)

    def _on_party_lost(self, event: r.PartyLost) -> None:
        if event.party == CLIENT:
            account = self.accounts[event.account]
            account.present = False
            self.tell_account(account)
        else:
            self._set_ready(self.machines[event.account, event.party], False)
            self._not_missing(event.account, event.party)

    def _not_missing(self, account: str, party: str) -> None:
        """A machine is no longer one for want of which the market froze itself."""
        if [account, party] in self.ill:
            self.ill = [pair for pair in self.ill if pair != [account, party]]
            self.digest.touch(MARKET)

    def at_work(self) -> int:
        """How many machines have contracts. O(machines)."""
        return sum(bool(contracts) for contracts in self.on_machine.values())

    def _set_ready(self, machine: Machine, ready: bool) -> None:
        self.ready += ready - machine.ready
        machine.ready = ready
        self.tell_machine(machine)

    def _on_machine_stated(self, event: r.MachineStated) -> None:
        key = (event.account, event.machine)
        if key not in self.machines:
            self.add_machine(Machine(event.account, event.machine, len(self.machines)))
        machine = self.machines[key]
        machine.cpus, machine.numbers, machine.flags = event.cpus, event.numbers, event.flags
        self.tell_machine(machine)

    def add_machine(self, machine: Machine) -> None:
        """A machine that was not there; it has no contracts yet."""
        key = machine.account, machine.name
        self.machines[key] = machine
        self.machines_of.setdefault(machine.account, []).append(machine)
        self.on_machine[key] = set()

    def _on_voted(self, event: r.Voted) -> None:
        about = self.accounts[event.about]
        about.votes.setdefault(event.account, [0, 0])[0 if event.good else 1] += event.weight
        about.reputation = event.reputation
        self.digest.touch(("votes", event.about, event.account))
        self.digest.touch(("account", event.about))
        self._stale.add(event.about)
        hour = self.hours.get((event.contract, event.hour))
        if hour is not None:
            hour.voters.append(event.account)
            self.digest.touch(("hour", event.contract, event.hour))

    # -- orders

    def _arrive(self, order: Order) -> None:
        self.orders[order.number] = order
        self.last_order, self.last_place = order.number, order.place
        if order.expires_us:
            self.dues.add((order.expires_us, EXPIRE, order.number))
        self.digest.touch(MARKET)
        self.digest.touch(("order", order.number))

    def _on_bid_placed(self, event: r.BidPlaced) -> None:
        screen = screen_of(event)
        order = Order(
            event.order, event.account, True, event.price, event.size, self.last_place + 1, event.expires_us,
            self.book_id(event.order), screen=screen,
        )  # fmt: skip
        self._arrive(order)
        self.tell_new_order(order)

    def _on_ask_placed(self, event: r.AskPlaced) -> None:
        order = Order(
            event.order, event.account, False, event.price, event.size, self.last_place + 1, event.expires_us,
            self.book_id(event.order), event.machine,
        )  # fmt: skip
        self._arrive(order)
        self._claim(order)
        self.tell_new_order(order)

    def _resize(self, order: Order, size: int) -> None:
        order.size = size
        self._tell_order(order)

    def _amend(self, order: Order, event: r.BidAmended | r.AskAmended) -> None:
        if (event.price, event.place) != (order.price, order.place):
            order.price, order.place = event.price, event.place
            self.book.reprice(order.slot, order.price, order.place)
            self.last_place = max(self.last_place, event.place)
            self.digest.touch(MARKET)
        self._resize(order, event.size)

    def _on_bid_amended(self, event: r.BidAmended) -> None:
        order, screen = self.orders[event.order], screen_of(event)
        if screen != order.screen:
            order.screen = screen
            self.book.rescreen(order.slot, self.book_screen(screen))
        self._amend(order, event)

    def _on_ask_amended(self, event: r.AskAmended) -> None:
        self._amend(self.orders[event.order], event)

    def _on_order_closed(self, event: r.OrderClosed) -> None:
        order = self.orders[event.order]
        self.dues.discard((order.expires_us, EXPIRE, order.number))
        self._resize(order, 0)
        self._forget_if_done(order)

    # -- contracts

    def _on_contract_opened(self, event: r.ContractOpened) -> None:
        contract = self.contracts[event.contract] = Contract(
            event.contract, event.bid, event.ask, event.buyer, event.seller, event.machine, event.price,
            event.until_us,
        )  # fmt: skip
        self.last_contract = event.contract
        self.on_machine[event.seller, event.machine].add(event.contract)
        self.digest.touch(MARKET)
        self._begin_hour(contract, event)

    def _on_contract_renewed(self, event: r.ContractRenewed) -> None:
        contract = self.contracts[event.contract]
        assert contract.settled and event.hour == contract.hour + 1, event
        contract.hour, contract.price, contract.until_us = event.hour, event.price, event.until_us
        contract.settled = False
        self._begin_hour(contract, event)

    def _begin_hour(self, contract: Contract, event: r.Event) -> None:
        self._move(event)
        self.dues.add((contract.until_us, HOUR, contract.number))
        self.digest.touch(("contract", contract.number))
        for number in (contract.bid, contract.ask):
            order = self.orders[number]
            order.running += 1
            assert order.running <= order.size, order
            self._tell_order(order)

    def _settle(self, event: r.HourCharged | r.HoldReturned) -> None:
        """The hour is over: money moves, the slots return to their orders at their own places (R10)."""
        contract = self.contracts[event.contract]
        assert not contract.settled and contract.hour == event.hour and contract.price == event.amount, event
        contract.settled = True
        self.dues.remove((contract.until_us, HOUR, contract.number))
        self._move(event)
        self.digest.touch(("contract", contract.number))
        for number in (contract.bid, contract.ask):
            order = self.orders[number]
            order.running -= 1
            assert order.running >= 0, order
            self._tell_order(order)

    def _on_hour_charged(self, event: r.HourCharged) -> None:
        self._settle(event)
        assert self.terms is not None
        weight = 0 if self.orders[self.contracts[event.contract].bid].screen.only else event.fee
        buyer, seller = self.accounts[event.buyer].key, self.accounts[event.seller].key  # once in memory
        until_us = self.now_us + DAY_HOURS * self.terms.hour_us
        self.hours[event.contract, event.hour] = Hour(buyer, seller, weight, until_us)
        self.digest.touch(("hour", event.contract, event.hour))

    def _on_hold_returned(self, event: r.HoldReturned) -> None:
        self._settle(event)

    def _on_contract_ended(self, event: r.ContractEnded) -> None:
        contract = self.contracts.pop(event.contract)
        assert contract.settled, event
        self.dues.discard((contract.confirm_by_us, CONFIRM, contract.number))
        self.on_machine[contract.seller, contract.machine].discard(contract.number)
        self.digest.touch(("contract", contract.number))
        for number in (contract.bid, contract.ask):
            if number in self.orders:
                self._forget_if_done(self.orders[number])

    def _on_program_sent(self, event: r.ProgramSent) -> None:
        contract = self.contracts[event.contract]
        contract.confirm_by_us = event.confirm_by_us
        if not contract.started:
            self.dues.add((event.confirm_by_us, CONFIRM, contract.number))
        self.digest.touch(("contract", contract.number))

    def _on_program_started(self, event: r.ProgramStarted) -> None:
        contract = self.contracts[event.contract]
        contract.started = True
        self.dues.discard((contract.confirm_by_us, CONFIRM, contract.number))
        self.digest.touch(("contract", contract.number))

    # -- answers

    def _on_answered(self, event: r.Answered | r.OrdersAnswered) -> None:
        if event.session == 0 and event.number == 0:
            return  # remembered nowhere
        sessions = self.sessions.get(event.account)
        if sessions is None:
            sessions = self.sessions[event.account] = SortedDict()
        if event.session not in sessions:
            sessions[event.session] = Session()
            if len(sessions) > MOST_SESSIONS:
                dropped, old = sessions.popitem(0)
                for number in old.answers:
                    self.digest.touch(("answer", event.account, dropped, number))
                if old.floor:
                    self.digest.touch(("floor", event.account, dropped))
        session = sessions.get(event.session)
        assert session is not None, event
        self.digest.touch(("answer", event.account, event.session, event.number))
        floor = session.floor
        for number in session.remember(event.number, event):
            self.digest.touch(("answer", event.account, event.session, number))
        if session.floor != floor:
            self.digest.touch(("floor", event.account, event.session))

    def _on_orders_answered(self, event: r.OrdersAnswered) -> None:
        self._on_answered(event)


def screen_of(event: r.BidPlaced | r.BidAmended) -> Screen:
    """The screen in an event."""
    if not (event.minimums or event.flags or event.only or event.blocked):
        return NOTHING_ASKED
    return Screen(event.minimums, tuple(event.flags), tuple(event.only), tuple(event.blocked))
