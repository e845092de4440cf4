"""From a raw message of INTAKE to a checked request: signature, form, session and number.

A pure function of the message's bytes, so that the audit gets the same refusals again (R34).
"""

from events.keys import is_signed, raw_key
from events.log import Stored
from events.requests import KINDS, NUMBER, Request, check, decode_body, signed_bytes, split
from events.subjects import parse_intake


def admit(stored: Stored) -> Request:
    """The request in a message; `refusal` says why it is none. Never raises."""
    account, kind = parse_intake(stored.subject) or ("", "")
    raw = raw_key(account)
    signed = split(stored.data)
    body = decode_body(signed[1]) if signed else None
    if raw is None or signed is None or body is None:
        return _refused(stored, account, kind, "R35/message/unreadable")
    signature, content = signed
    if not is_signed(raw, signature, signed_bytes(stored.subject, content)):
        return _refused(stored, account, kind, "R35/signature/false")
    session, number = body.get("session"), body.get("number")
    if type(session) is not int or type(number) is not int or not 0 <= session <= NUMBER:
        session = number = 0
    if not 1 <= number <= NUMBER:
        session = number = 0
    code = check(KINDS[kind], body) if kind in KINDS else "R12/kind/unknown"
    return Request(
        stored.sequence, stored.time_ns, account, kind, session, number, content, body, code
    )  # fmt: skip


def _refused(stored: Stored, account: str, kind: str, code: str) -> Request:
    return Request(stored.sequence, stored.time_ns, account, kind, 0, 0, b"", {}, code)
