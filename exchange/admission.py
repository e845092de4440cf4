"""From a raw message of INTAKE to a checked request: form, session and number.

A pure function of the message's bytes and the version of the rules, so that the audit gets the same
refusals again (R34). Who asked is known from the subject, under which the server lets that account alone
publish; the signature is checked behind the exchange, by the notary and by every audit (R35). Rules 1
checked it here, and here it is still checked where rules are to change, which could not be undone.
"""

from typing import Any

from events.keys import is_signed, raw_key
from events.log import Stored
from events.requests import (
    IN_ORDERS,
    NUMBER,
    Request,
    check,
    check_members,
    decode_body,
    kinds,
    order_members,
    signed_bytes,
    split,
)
from events.subjects import parse_intake

MOST_KNOWN = 100_000  # subjects of which it is remembered whose they are
_known: dict[str, tuple[str, str, bytes] | None] = {}


def whose(subject: str) -> tuple[str, str, bytes] | None:
    """(account, kind, the account's key as bytes) of a subject, or None where it names no account."""
    if subject in _known:
        return _known[subject]
    account, kind = parse_intake(subject) or ("", "")
    raw = raw_key(account)
    found = None if raw is None else (account, kind, raw)
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[subject] = found
    return found


def admit(stored: Stored, rules: int) -> Request:
    """The request in a message; `refusal` says why it is none. Never raises. O(bytes)."""
    known = whose(stored.subject)
    signed = split(stored.data)
    body = decode_body(signed[1]) if signed else None
    if known is None or signed is None or body is None:
        account, kind = known[:2] if known else parse_intake(stored.subject) or ("", "")
        return _refused(stored, account, kind, "R35/message/unreadable")
    account, kind, raw = known
    signature, content = signed
    if (rules < 2 or kind == "rules") and not is_signed(
        raw, signature, signed_bytes(stored.subject, content)
    ):
        return _refused(stored, account, kind, "R35/signature/false")
    session, number = body.get("session"), body.get("number")
    if (
        type(session) is not int
        or type(number) is not int
        or not 0 <= session <= NUMBER
        or not 1 <= number <= NUMBER
    ):
        session = number = 0
    row = kinds(rules).get(kind)
    code = check(row, body) if row is not None else "R12/kind/unknown"
    return Request(
        stored.sequence, stored.time_ns, account, kind, session, number, content, body, code
    )  # fmt: skip


def admit_order(order: Any, rules: int) -> tuple[str, dict[str, Any], str]:
    """(kind, members, refusal) of one order among many; as if it had come alone."""
    if type(order) is not dict:
        return "", {}, "R12/orders/not-an-object"
    kind = order.pop("kind", None)
    if type(kind) is not str or kind not in IN_ORDERS:
        return "", {}, "R12/kind/unknown"
    return kind, order, check_members(order_members(kind, rules), order)


def _refused(stored: Stored, account: str, kind: str, code: str) -> Request:
    return Request(stored.sequence, stored.time_ns, account, kind, 0, 0, b"", {}, code)
