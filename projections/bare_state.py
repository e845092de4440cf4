"""The market's state for who looks back: folded by the same functions, with nothing beside it that only
deciding needs: no book, and a digest that is computed when it is asked for.

That nothing is lost by this, the digest tells: it covers the whole state.
"""

from functools import partial
from typing import Any, cast

from exchange.digest import MODULUS, Digest, Key, weight
from exchange.entities import Account, Machine, Order
from exchange.entries import entry, keys, rows
from exchange.state import State


class BareState(State):
    """A state that tells no book. What it decides nobody may ask it: it cannot match."""

    def __init__(self) -> None:
        super().__init__()
        self.book: Any = _NoBook()

    def tell_account(self, account: Account) -> None:
        """The digest alone is told."""
        self.digest.touch(("account", account.key))

    def tell_machine(self, machine: Machine) -> None:
        """The digest alone is told; flags are numbered at their first mention."""
        self.flag_bits(machine.flags)
        self.digest.touch(("machine", machine.account, machine.name))

    def tell_new_order(self, order: Order) -> None:
        """Flags are numbered at their first mention."""
        self.flag_bits(order.screen.flags)

    def _tell_order(self, order: Order) -> None:
        self.digest.touch(("order", order.number))
        if not order.is_bid:
            self._claim(order)

    def _add(self, key: str, purse: str, amount: int) -> None:
        account = self.accounts.get(key)
        if account is None:
            super()._add(key, purse, amount)
            return
        if purse == "free":
            left = account.free = account.free + amount
        else:
            left = account.held = account.held + amount
        assert left >= 0, (key, purse, left)
        self.digest.touch(("account", key))


class WholeDigest(Digest):
    """A digest that is not kept up: taken by going through the whole state, O(entries).

    Of states under rules 2 or later; before, the digest left out a part of the state.
    """

    def __init__(self, state: State) -> None:
        super().__init__(partial(entry, state))
        self._state = state
        self.entries = 0  # as of the last `take`
        self.touch = cast(Any, callable)  # of all that does nothing and takes one value, the cheapest

    def take(self) -> str:
        """See Digest."""
        self.entries = total = 0
        for row in rows(self._state):
            total += weight(row)
            self.entries += 1
        return f"{total % MODULUS:032x}"

    def fresh(self) -> str:
        """See Digest."""
        return self.take()

    def keys(self) -> frozenset[Key]:
        """See Digest."""
        return frozenset(keys(self._state))


class _NoBook:
    """Takes whatever it is told."""

    def set_machine(self, *_: object) -> None:
        pass

    set_account = set_open = add_bid = add_ask = reprice = rescreen = remove = set_machine
