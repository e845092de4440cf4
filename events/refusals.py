"""Refusals: every stable code that the market answers with, and what to tell a person (R12).

A code is `rule/member/reason`. Codes never change their meaning; the sentences may.
"""

# Every (rule, member, reason) that the engine may answer besides the forms of the table of requests.
CODES: dict[str, str] = {
    "R35/signature/false": "signed by another key, or altered on the way",
    "R35/message/unreadable": "the message is its signature, a line feed, and a JSON object",
    "R35/account/suspended": "a request in its name was not signed by it; the operator can reinstate it",
    "R35/account/not-suspended": "only a suspended account can be reinstated",
    "R12/orders/not-an-object": "each of the orders is an object",
    "R12/orders/too-many": "the orders of one request are for 10,000 CPUs together at most",
    "R12/kind/unknown": "no request is called so",
    "R12/member/unknown": "a member that this kind of request does not have",
    "R12/number/other-content": "number a new request with the next number",
    "R12/number/old": "the number is more than 1,024 behind the session's newest",
    "R12/session/old": "the session is older than the 64 newest of the account",
    "R2/account/unknown": "the account is not open in this market",
    "R2/account/exists": "the account is open already",
    "R2/name/exists": "another account has this name, or the ledger itself: bank, fees",
    "R1/amount/too-many": "the account would hold more than the ledger can count",
    "R21/operator/not-yours": "only the operator may ask this",
    "R35/exchange/not-yours": "only the exchange's own service may ask this",
    "R33/market/exists": "the market is open already",
    "R33/market/not-open": "the first request of the log opens the market",
    "R19/lost_after_us/too-long": "a party must be lost within a tenth of the hour",
    "R11/price/unfunded": "a bid needs free money for one CPU hour at its limit",
    "R9/order/unknown": "no order of yours has this number, or it is closed",
    "R9/order/no-change": "name a price, a size or a screen",
    "R9/screen/not-a-bid": "an ask has no screen",
    "R6/machine/unknown": "state the machine first (a `machine` request)",
    "R6/machine/reserved": "a machine must not be called `client`",
    "R6/size/too-many": "all asks of one machine together offer no more CPUs than it has",
    "R6/cpus/too-many": "asks of this machine offer more CPUs than this; amend them first",
    "R6/flags/too-many": "the market knows 512 different flags",
    "R16/contract/unknown": "you have no part in a running contract of this number",
    "R16/contract/already": "once a contract is enough",
    "R26/hour/unknown": "no charged hour of yours, or its day has passed",
    "R26/hour/already": "each side votes once for an hour",
    "R22/freeze/already": "the market is frozen",
    "R22/unfreeze/already": "the market is not frozen",
    "R21/halt/already": "the market is halted",
    "R21/resume/already": "the market is not halted",
}


def explain(code: str) -> str:
    """One sentence for a person; it names the member and the rule."""
    rule, member, reason = code.split("/")
    text = {"missing": "is missing", "form": "is not of the form that it must have"}.get(reason)
    return f"{member} {text} ({rule})" if text else f"{member}: {CODES.get(code, reason)} ({rule})"
