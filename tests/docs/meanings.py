"""What docs/protocol.md adds to the code: members of events, what to do about a refusal, query results.

Whatever the code has and this has not makes `generate` fail, and what this has too much, a test.
"""

# By `kind.member` where a kind needs words of its own, else by `member`.
EVENT_MEMBERS = {
    "operator": "the operator's key",
    "exchange": "the key of the exchange's own service",
    "hour_us": "the hour, in µs of market time",
    "lost_after_us": "silence after which a party is lost, in µs",
    "fee_ppm": "the operator's share of a charge, in parts per million",
    "epoch": "the writer's number, rising by 1",
    "now_us": "market time, in µs since the market opened",
    "tick_us": "stored time of the tick that moved it, in µs since 1970",
    "account": "the account's key",
    "name": "its name, unique in the market",
    "amount": "micro-credits",
    "reference": "of the payment outside",
    "machine": "the machine's name, unique in its account",
    "cpus": "how many CPUs all its asks together may offer",
    "numbers": "its numbers, per CPU offered",
    "flags": "flags: architecture, CPU features, runtimes",
    "party": "a machine's name, or `client`",
    "order": "the order's number, from 1, in the order of arrival",
    "price": "micro-credits per CPU hour",
    "size": "CPUs at once",
    "minimums": "the least of each number named",
    "only": "sellers alone allowed; empty for everybody",
    "blocked": "sellers refused",
    "expires_us": "market time at which it expires, in µs; 0: never",
    "place": "its place in time: among equal prices the lower one is served first",
    "reason": "why, for people",
    "order_closed.reason": "`cancelled`, `expired` or `suspended`",
    "hold_returned.reason": "`lost`, `left`, `not started` or `aborted`",
    "contract_ended.reason": "`not renewed`, or as in `hold_returned`",
    "contract": "the contract's number, from 1",
    "bid": "the bid's number",
    "ask": "the ask's number",
    "buyer": "the buyer's key",
    "seller": "the seller's key",
    "until_us": "market time at which this hour ends, in µs",
    "hour": "which of the contract's hours, from 1",
    "fee": "the operator's part of `amount`, in micro-credits",
    "confirm_by_us": "market time until which the seller must confirm the start, in µs",
    "voted.account": "who votes",
    "about": "about whom",
    "good": "good, or erratic",
    "weight": "what the vote weighs, in micro-credits: the hour's fee, or its hold where it was broken",
    "reputation": "of `about` after the vote, in parts per million",
    "missing": "the machines that fell silent, where the market froze itself; else empty",
    "session": "the request's session; 0 where it could not be read, or is not kept",
    "number": "the request's number; 0 as above",
    "content": "the first 32 hexadecimal digits of the SHA-256 of the kind, a line feed, the JSON",
    "code": "empty: done; else the refusal, `rule/member/reason`",
    "answered.order": "the order that it is about; 0: none",
    "matched": "what was opened for it at once",
    "answers": "one for each order in turn: [code, order, matched, rests, hourly], as in `answered`",
    "version": "the version of the rules",
    "request": "the sequence in INTAKE of the request that is not signed by the account",
    "through": "a sequence in INTAKE",
    "rests": "slots of the order that stay in the book",
    "hourly": "the most that the bid can cost per hour, in micro-credits: size times price; 0 for others",
}

ADVICE = {
    "R35/signature/false": "sign the mark, the subject, a line feed and exactly the bytes that you send",
    "R35/message/unreadable": "86 characters of signature, a line feed, one JSON object in UTF-8",
    "R35/account/suspended": "find out who asked in your name; the operator can reinstate the account",
    "R35/account/not-suspended": "nothing: the account may act",
    "R12/orders/not-an-object": "send objects with `kind` and the members of that kind",
    "R12/orders/too-many": "spread them over several requests",
    "R12/kind/unknown": "use a kind from this page",
    "R12/member/unknown": "send only members from this page",
    "R12/number/other-content": "the earlier request stands; number this one anew",
    "R12/number/old": "number it anew; ask the feed or `orders` whether the old one was done",
    "R12/session/old": "begin a session with a higher number",
    "R2/account/unknown": "ask the operator to open the account",
    "R2/account/exists": "nothing: it is open",
    "R2/name/exists": "choose another name",
    "R1/amount/too-many": "deposit less",
    "R21/operator/not-yours": "ask the operator",
    "R35/exchange/not-yours": "nothing: these are not for clients",
    "R33/market/exists": "nothing: terms stay as they are",
    "R33/market/not-open": "wait until the operator has opened the market",
    "R19/lost_after_us/too-long": "a longer hour, or a shorter lost-after time",
    "R11/price/unfunded": "deposit, or bid lower",
    "R9/order/unknown": "ask `orders` for those that are open",
    "R9/order/no-change": "give at least one member besides `order`",
    "R9/screen/not-a-bid": "leave `minimums`, `flags`, `only` and `blocked` out",
    "R6/machine/unknown": "send `machine` first, and spell its name alike",
    "R6/machine/reserved": "choose another name",
    "R6/size/too-many": "offer fewer CPUs, amend another ask of the machine, or state more CPUs",
    "R6/cpus/too-many": "amend the machine's asks first",
    "R6/flags/too-many": "use flags that are known; ask `machines`",
    "R16/contract/unknown": "ask `contracts` for those that run",
    "R16/contract/already": "nothing: it is known",
    "R26/hour/unknown": "vote after `hour_charged`, within a day",
    "R26/hour/already": "nothing: a vote stands for ever",
    "R22/freeze/already": "nothing: it is frozen",
    "R22/unfreeze/already": "nothing: it is not frozen",
    "R21/halt/already": "nothing: it is halted",
    "R21/resume/already": "nothing: it is not halted",
}

_RESULTS = {
    "status": """
        `{"now_us", "frozen": reason or "", "halted": reason or "", "epoch", "rules", "checked", "terms":
        {"operator", "exchange", "hour_us", "lost_after_us", "fee_ppm"} or null, "accounts", "machines",
        "ready", "orders", "contracts"}`: the market as a whole; the last five are counts. `rules` is the
        version by which it decides; signatures of requests up to `checked` in INTAKE are checked (R35).
    """,
    "book": """
        `{"bids": [[price, open slots, orders]], "asks": [...]}`, best price first: bids that are funded and
        whose client is present, asks whose machine is ready (R11).
    """,
    "machines": """
        `[{"account", "name", "machine", "cpus", "numbers", "flags", "ready", "asks": [{"order", "price",
        "size", "running"}]}]`: every machine; `name` is the account's, `numbers` has `reputation` too.
    """,
    "account": """
        `{"account", "name", "free", "held", "reputation", "suspended": request or 0}`: money in
        micro-credits; `suspended` is the request in its name that it did not sign (R35).
    """,
    "accounts": """
        A list of the same.
    """,
    "statement": """
        `{"account", "name", "lines": [{"line", "commit", "now_us", "event", "contract", "hour",
        "counterparty", "text", "free", "held"}], "opening": {"free", "held"}, "closing": {"free", "held"}}`
        (R2): each line names its event and what it changed in both purses, in micro-credits. `since` and
        `until` are numbers of commits, both included.
    """,
    "orders": """
        `[{"order", "side", "price", "size", "running", "machine", "minimums", "flags", "only", "blocked",
        "expires_us", "closed": reason or ""}]`: the open orders of the account; with `all`, closed ones
        too.
    """,
    "contracts": """
        `[{"contract", "bid", "ask", "buyer", "seller", "machine", "price", "hour", "until_us", "sent",
        "started", "ended": reason or "", "paid": micro-credits charged so far}]`: the contracts that run,
        as buyer or seller; with `all`, ended ones too.
    """,
    "feed": """
        A list of the messages of the account's feed with numbers above `since`.
    """,
    "market_feed": """
        A list of the messages of `feed.market` with numbers above `since`.
    """,
    "answer": """
        The `answered` or `orders_answered` event of the account's request with this session and number, or
        null.
    """,
}
RESULTS = {name: " ".join(text.split()) for name, text in _RESULTS.items()}
