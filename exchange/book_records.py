"""What goes into `Book.apply` and what comes out: two records of fixed layout, little-endian.

`numpy.dtype(REQUEST_FIELDS)` and `numpy.dtype(RESULT_FIELDS)` are the same layouts, for arrays.

| request | fields it reads besides `kind` |
|---|---|
| BID     | order, owner (account), price, spend, expires, size, screen, terms |
| ASK     | order, owner (machine), price, expires, size, terms |
| AMEND   | order, price, size, screen; -1 leaves one as it is; size 0 is a cancel (R9) |
| CANCEL  | order |
| RETURN  | order (bid), other (ask), size: slots whose hour has ended go back to their own place (R10) |
| SETTLE  | none |
| ACCOUNT | owner (account), price (its free money), size (1: its client is present) |
| READY   | owner (machine), size (1: ready) |
| NUMBER  | owner (machine), other (attribute), price (its value) |
| EXPIRE  | price: the market time; orders whose `expires` is not above it are gone |

Every request but RETURN is followed by matching (R5); what RETURN gave back is matched all together before
the next request that is no RETURN is done, last partners first (R14). SETTLE is for just that.

An order that arrives (BID, ASK, and AMEND by R9) has the next place in time. Terms say what becomes of slots:

- STANDING: they come back by RETURN (of an order that is finished, or ONCE, to nobody);
- ONCE: they are sold and gone, and with the last of them the order;
- IOC: ONCE, and what does not match at once is gone;
- FOK: IOC, all or nothing;
- MARKET: an IOC bid without a limit, that spends `spend` at most;
- POST_ONLY (`STANDING | POST_ONLY`, `ONCE | POST_ONLY`): refused if it would match on arrival (R8).

A bid is refused where its account, or its `spend`, cannot pay one hour at its limit (R11), a MARKET bid where
its account has not what it may spend.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Protocol

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
PRICE_MAX: Final = 2**62
NO_BOUND: Final = INT64_MAX  # of `spend`

# kinds of request
BID, ASK, AMEND, CANCEL, RETURN, SETTLE, ACCOUNT, READY, NUMBER, EXPIRE = range(10)

# terms
STANDING, ONCE, IOC, FOK, MARKET = range(5)
POST_ONLY: Final = 8

# what a result says
MATCH: Final = 0  # order (bid), other (ask), price, slots
RESTS: Final = 1  # last of an order that is in the book: order, price (its limit), slots (its open ones)
GONE: Final = 2  # last of an order that is not: order, slots (those that were not matched)
EXPIRED: Final = 3  # order, slots (its open ones); earliest expiry first, then lowest id
REFUSED: Final = 4  # order, code; other: with BAD_VALUE the position of the field in REQUEST_FIELDS

# why a request is refused
UNKNOWN, DUPLICATE, FINISHED, BAD_VALUE, WRONG_SIDE, UNFUNDED, NOT_WHOLE, WOULD_MATCH, NO_MEMORY = range(
    1, 10
)
SAYS: Final = {
    UNKNOWN: "no order ever had this id (R12)",
    DUPLICATE: "an order with this id is in the book (R12)",
    FINISHED: "the order with this id is finished (R12)",
    BAD_VALUE: "a field is out of its range",
    WRONG_SIDE: "the order is of the wrong side: bids have screens, a RETURN names a bid and an ask",
    UNFUNDED: "its account, or what it may spend, cannot pay one hour at its limit (R11)",
    NOT_WHOLE: "not all of it could be matched at once (R8, fok)",
    WOULD_MATCH: "it would match on arrival (R8, post_only)",
    NO_MEMORY: "there is no memory for an index or an account as high as this",
}

REQUEST_FIELDS: Final = [
    ("order", "<i8"), ("other", "<i8"), ("price", "<i8"), ("spend", "<i8"), ("expires", "<i8"),
    ("size", "<i4"), ("owner", "<i4"), ("screen", "<i4"), ("kind", "u1"), ("terms", "u1"), ("pad", "<u2"),
]  # fmt: skip
RESULT_FIELDS: Final = [
    ("order", "<i8"), ("other", "<i8"), ("price", "<i8"),
    ("slots", "<i4"), ("request", "<i4"), ("what", "u1"), ("code", "u1"), ("pad", "<u2"), ("pad2", "<u4"),
]  # fmt: skip
REQUEST: Final = Struct("<qqqqqiiiBBH")
RESULT: Final = Struct("<qqqiiBBHI")


def says_of(bid: bool, field: str, value: int) -> str:
    """What is wrong with a field of a single call's request; `bid`: it was a bid."""
    if field == "owner":
        word, call = ("account", "set_account") if bid else ("machine", "set_machine")
        return f"{word} is {value}: it was never set, call {call} first"
    if field == "screen":
        return f"screen is {value}: no screen is kept under it"
    if field == "spend" and value == NO_BOUND:
        return f"spend is {value}: a market bid must say what it may spend (R8)"
    return f"{field} is {value}: out of its range"


class Buffer(Protocol):
    """Whatever exports its bytes: bytes, bytearray, memoryview, a NumPy array."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """Its bytes."""


def request(
    kind: int,
    order: int = -1,
    *,
    other: int = -1,
    price: int = -1,
    spend: int = NO_BOUND,
    expires: int = 0,
    size: int = -1,
    owner: int = -1,
    screen: int = 0,
    terms: int = STANDING,
) -> bytes:
    """One REQUEST record."""
    return REQUEST.pack(order, other, price, spend, expires, size, owner, screen, kind, terms, 0)
