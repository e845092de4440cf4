"""Requests: what anyone may ask of the market. One table is the truth; the schemas are made from it.

The table checks with integers and patterns of its own, because events must not depend on a library's
wording or version (R34); pydantic checks at the clients' edge and publishes the JSON Schemas.
"""

import functools
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from events.keys import SIGNATURE_CHARACTERS, Key, is_key
from events.profile import FLAG, MOST_ACCOUNTS, MOST_FLAGS, NUMBER_SINCE, SCREEN_NUMBERS, STATED_NUMBERS
from events.wire import dumps, loads

MOST_BYTES = 64 * 1024  # of one request message; the server drops larger ones
MONEY = 10**15  # the largest amount or price: a billion credits
NUMBER = 2**53 - 1  # the largest integer that every JSON reader keeps
INT32 = 2**31 - 1
NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
TEXT = r"[^\x00-\x1f\x7f]{1,200}"
CREDIT = 1_000_000  # micro-credits
HOUR_US = 3_600_000_000
WORDS = {  # what the patterns of texts mean to a person
    NAME: "1 to 32 of a-z, 0-9, _ and -, the first a letter or digit",
    TEXT: "1 to 200 characters in one line",
    FLAG: "1 to 40 of a-z, 0-9, _ . / + and -, the first a letter or digit",
}


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return type(value) is int and self.low <= value <= self.high

    def described(self) -> str:
        """What the value must be, in words."""
        return f"a whole number from {self.low} to {self.high}"

    def annotation(self) -> Any:
        """The same for pydantic."""
        return Annotated[int, Field(ge=self.low, le=self.high, strict=True)]


@dataclass(frozen=True)
class Money(Integer):
    """An amount or a price, in micro-credits."""

    def described(self) -> str:
        """What the value must be, in words; people know credits."""
        low, high = (Decimal(bound).scaleb(-6) for bound in (self.low, self.high))
        return f"{super().described()} micro-credits, that is {low:f} to {high:f} credits"


@dataclass(frozen=True)
class Text:
    """A text that a pattern matches from end to end."""

    pattern: str

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None

    def described(self) -> str:
        """What the value must be, in words."""
        return f"{WORDS[self.pattern]} (`{self.pattern}`)"

    def annotation(self) -> Any:
        """The same for pydantic."""
        return Annotated[str, Field(pattern=f"^(?:{self.pattern})$")]


@dataclass(frozen=True)
class Account:
    """An account's public key."""

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return is_key(value)

    def described(self) -> str:
        """What the value must be, in words."""
        return "an account's public key (U and 55 characters)"

    def annotation(self) -> Any:
        """The same for pydantic."""
        return Annotated[str, Field(pattern="^U[A-Z2-7]{55}$"), AfterValidator(_key)]


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return value in self.words

    def described(self) -> str:
        """What the value must be, in words."""
        return " or ".join(f"`{word}`" for word in self.words)

    def annotation(self) -> Any:
        """The same for pydantic."""
        return Literal[self.words]


@dataclass(frozen=True)
class Truth:
    """True or false."""

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return isinstance(value, bool)

    def described(self) -> str:
        """What the value must be, in words."""
        return "true or false"

    def annotation(self) -> Any:
        """The same for pydantic."""
        return Annotated[bool, Field(strict=True)]


@dataclass(frozen=True)
class Many:
    """A list of at most `most` different values of one form."""

    of: "Account | Text"
    most: int

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return (
            isinstance(value, list)
            and len(value) <= self.most
            and all(self.of.holds(item) for item in value)
            and len(set(value)) == len(value)
        )

    def described(self) -> str:
        """What the value must be, in words."""
        return f"a list of at most {self.most}, all different; each {self.of.described()}"

    def annotation(self) -> Any:
        """The same for pydantic."""
        item: Any = self.of.annotation()
        form = Field(max_length=self.most, json_schema_extra={"uniqueItems": True})
        return Annotated[list[item], form, AfterValidator(_different)]


@dataclass(frozen=True)
class Numbers:
    """An object that gives some of the named numbers (int32)."""

    names: tuple[str, ...]

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return isinstance(value, dict) and all(
            name in self.names and type(number) is int and 0 <= number <= INT32
            for name, number in value.items()
        )

    def described(self) -> str:
        """What the value must be, in words."""
        names = ", ".join(f"`{name}`" for name in self.names)
        return f"an object with any of {names}; each {Integer(0, INT32).described()}"

    def annotation(self) -> Any:
        """The same for pydantic."""
        number = Annotated[int, Field(ge=0, le=INT32, strict=True)]
        name: Any = Literal[self.names]
        return dict[name, number]


@dataclass(frozen=True)
class Parties:
    """A list of [account, party] pairs: a machine's name, or `client`."""

    most: int

    def holds(self, value: object) -> bool:
        """Whether the value is of this form."""
        return (
            isinstance(value, list)
            and 1 <= len(value) <= self.most
            and all(
                isinstance(pair, list) and len(pair) == 2 and is_key(pair[0]) and Text(NAME).holds(pair[1])
                for pair in value
            )
        )

    def described(self) -> str:
        """What the value must be, in words."""
        pair = f"{Account().described()}, {Text(NAME).described()}"
        return f"a list of 1 to {self.most} pairs [{pair}]"

    def annotation(self) -> Any:
        """The same for pydantic."""
        account: Any = Account().annotation()
        party: Any = Text(NAME).annotation()
        return Annotated[list[tuple[account, party]], Field(min_length=1, max_length=self.most)]


@dataclass(frozen=True)
class Orders:
    """A list of bids, asks and amendments; each is checked on its own, by the table of its kind."""

    most: int

    def holds(self, value: object) -> bool:
        """Whether the value is of this form; what is in it is looked at one by one."""
        return isinstance(value, list) and 1 <= len(value) <= self.most

    def described(self) -> str:
        """What the value must be, in words."""
        kinds = ", ".join(f"`{kind}`" for kind in IN_ORDERS)
        return (
            f"a list of 1 to {self.most} objects, each with `kind` ({kinds}) and the members of that kind "
            "but `session` and `number`"
        )

    def annotation(self) -> Any:
        """The same for pydantic."""
        return Annotated[list[Any], Field(min_length=1, max_length=self.most)]


def _key(text: str) -> str:
    if not is_key(text):
        raise ValueError("the key's checksum is wrong: a letter was altered or lost")
    return text


def _different(items: list[str]) -> list[str]:
    if len(set(items)) != len(items):
        raise ValueError("the same value stands twice")
    return items


Form = Integer | Text | Account | Choice | Truth | Many | Numbers | Parties | Orders
REQUIRED: Any = object()


@dataclass(frozen=True)
class Member:
    """One member of a request: its name, form, the rule that it comes from, what it means, its default."""

    name: str
    form: Form
    rule: str
    meaning: str
    default: Any = REQUIRED


@dataclass(frozen=True)
class Kind:
    """One kind of request: who may make it, what it is for, its members in the order they are checked.

    `since`: the version of the rules that brought it; before, it is unknown (R34).
    """

    name: str
    role: Literal["trader", "operator", "exchange"]
    purpose: str
    members: tuple[Member, ...]
    since: int = 1


PRICE = Money(1, 10**12)  # a million credits; times the largest size it stays within 64 bits
MOST_CPUS = 10_000  # of one order: what it matches must fit in one answer
SIZE = Integer(1, MOST_CPUS)
ID = Integer(1, NUMBER)
IN_ORDERS = ("bid", "ask", "amend")  # what a request of many orders may hold
MOST_ORDERS = 500  # in one request, so that its commit and its answer stay small

NUMBERED = (
    Member(
        "session",
        Integer(0, NUMBER),
        "R12",
        "the client's session, rising: microseconds since 1970 at its start",
    ),
    Member("number", Integer(1, NUMBER), "R12", "rising within the session"),
)
SCREEN = (
    Member(
        "minimums",
        Numbers(SCREEN_NUMBERS),
        "R6",
        "for each number named, the least that the machine must have",
        {},
    ),
    Member("flags", Many(Text(FLAG), MOST_FLAGS), "R6", "flags that must all be there", []),
    Member("only", Many(Account(), MOST_ACCOUNTS), "R6", "sellers alone allowed; empty for everybody", []),
    Member("blocked", Many(Account(), MOST_ACCOUNTS), "R6", "sellers refused", []),
)
MACHINE_NAME = Member("machine", Text(NAME), "R6", "the machine's name, unique in its account, not `client`")
REASON = Member("reason", Text(TEXT), "R21", "why, for everybody to read")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "bid",
            "trader",
            "A standing order to buy CPU hours.",
            (
                *NUMBERED,
                Member("price", PRICE, "R5", "limit: micro-credits per CPU hour, the most to pay"),
                Member("size", SIZE, "R5", "how many CPUs at once"),
                *SCREEN,
                Member(
                    "lifetime_us",
                    Integer(0, NUMBER),
                    "R8",
                    "expires after so much market time, in µs; 0: never",
                    0,
                ),
            ),
        ),
        Kind(
            "ask",
            "trader",
            "A standing order to sell CPU hours of one machine.",
            (
                *NUMBERED,
                MACHINE_NAME,
                Member("price", PRICE, "R5", "limit: micro-credits per CPU hour, the least to be paid"),
                Member("size", SIZE, "R5", "how many CPUs at once"),
                Member(
                    "lifetime_us",
                    Integer(0, NUMBER),
                    "R8",
                    "expires after so much market time, in µs; 0: never",
                    0,
                ),
            ),
        ),
        Kind(
            "amend",
            "trader",
            "Change a standing order; size 0 cancels it. What is left out stays.",
            (
                *NUMBERED,
                Member("order", ID, "R9", "the order's number"),
                Member("price", PRICE, "R9", "new limit: micro-credits per CPU hour", None),
                Member("size", Integer(0, MOST_CPUS), "R9", "new size; 0 cancels", None),
                Member("minimums", Numbers(SCREEN_NUMBERS), "R9", "new screen of a bid, given whole", None),
                Member("flags", Many(Text(FLAG), MOST_FLAGS), "R9", "new screen of a bid, given whole", None),
                Member(
                    "only", Many(Account(), MOST_ACCOUNTS), "R9", "new screen of a bid, given whole", None
                ),
                Member(
                    "blocked", Many(Account(), MOST_ACCOUNTS), "R9", "new screen of a bid, given whole", None
                ),
            ),
        ),
        Kind(
            "orders",
            "trader",
            "Many orders in one request, done one after the other as if each had come alone; one answer.",
            (
                *NUMBERED,
                Member("orders", Orders(MOST_ORDERS), "R12", "the orders"),
            ),
            since=2,
        ),
        Kind(
            "machine",
            "trader",
            "Say what a machine has; asks name it. Its first heartbeat makes it ready.",
            (
                *NUMBERED,
                MACHINE_NAME,
                Member("cpus", SIZE, "R6", "how many CPUs all its asks together may offer"),
                Member("numbers", Numbers(STATED_NUMBERS), "R24", "its numbers, per CPU offered"),
                Member(
                    "flags",
                    Many(Text(FLAG), MOST_FLAGS),
                    "R24",
                    "its flags: architecture, CPU features, runtimes",
                ),
            ),
        ),
        Kind(
            "leave",
            "trader",
            "The seller takes a machine away at once: its contracts break, holds go back (R16).",
            (*NUMBERED, MACHINE_NAME),
        ),
        Kind(
            "sent",
            "trader",
            "The buyer's client: the program has reached the seller.",
            (*NUMBERED, Member("contract", ID, "R16", "the contract's number")),
        ),
        Kind(
            "started",
            "trader",
            "The seller confirms that the program runs.",
            (*NUMBERED, Member("contract", ID, "R16", "the contract's number")),
        ),
        Kind(
            "vote",
            "trader",
            "One side's vote on one paid contract hour.",
            (
                *NUMBERED,
                Member("contract", ID, "R26", "the contract's number"),
                Member("hour", ID, "R26", "which of its hours, from 1"),
                Member("good", Truth(), "R26", "good, or erratic"),
            ),
        ),
        Kind(
            "open",
            "operator",
            "Opens the market: the first request of the log.",
            (
                *NUMBERED,
                Member("exchange", Account(), "R35", "the key of the exchange's own service"),
                Member("hour_us", Integer(1_000_000, NUMBER), "R13", "the hour, in µs of market time"),
                Member(
                    "lost_after_us",
                    Integer(100_000, NUMBER),
                    "R19",
                    "silence after which a party is lost, in µs",
                ),
                Member(
                    "fee_ppm", Integer(0, CREDIT), "R4", "the operator's share of a charge, parts per million"
                ),
            ),
        ),
        Kind(
            "account",
            "operator",
            "Opens an account.",
            (
                *NUMBERED,
                Member("account", Account(), "R2", "its public key"),
                Member("name", Text(NAME), "R2", "its name, unique in the market"),
            ),
        ),
        Kind(
            "deposit",
            "operator",
            "Money enters.",
            (
                *NUMBERED,
                Member("account", Account(), "R2", "whose"),
                Member("amount", Money(1, MONEY), "R1", "micro-credits"),
                Member("reference", Text(TEXT), "R2", "of the payment outside"),
            ),
        ),
        Kind("freeze", "operator", "Stops market time for everyone (R22).", (*NUMBERED, REASON)),
        Kind("unfreeze", "operator", "Ends a freeze (R22).", (*NUMBERED, REASON)),
        Kind("halt", "operator", "Only renewals match (R21).", (*NUMBERED, REASON)),
        Kind("resume", "operator", "Ends a halt (R21).", (*NUMBERED, REASON)),
        Kind(
            "abort",
            "operator",
            "Ends all contracts, holds returned, no votes; the market stays halted.",
            (*NUMBERED, REASON),
        ),
        Kind(
            "reinstate",
            "operator",
            "A suspended account may act again; its orders are gone.",
            (*NUMBERED, Member("account", Account(), "R35", "whose"), REASON),
            since=2,
        ),
        Kind(
            "rules",
            "exchange",
            "From the next request on the market decides by another version of the rules (R34).",
            (
                Member("epoch", ID, "R20", "the writer's epoch"),
                Member("version", Integer(1, INT32), "R34", "the version; an older one changes nothing"),
            ),
        ),
        Kind(
            "suspend",
            "exchange",
            "The notary: a request is not signed by the account that it names (R35).",
            (
                Member("account", Account(), "R35", "in whose name it came"),
                Member("request", ID, "R35", "its sequence in INTAKE"),
            ),
            since=2,
        ),
        Kind(
            "checked",
            "exchange",
            "The notary: every signature up to here is checked (R35).",
            (Member("through", ID, "R35", "the last sequence in INTAKE that was checked"),),
            since=2,
        ),
        Kind(
            "epoch",
            "exchange",
            "A writer begins; what an earlier one still says is ignored.",
            (Member("epoch", ID, "R20", "one more than the last"),),
        ),
        Kind(
            "tick",
            "exchange",
            "Market time moves by the stored time since the tick before, at most 5 s.",
            (Member("epoch", ID, "R20", "the writer's epoch"),),
        ),
        Kind(
            "lost",
            "exchange",
            "Parties that were silent for the lost-after time.",
            (
                Member("epoch", ID, "R20", "the writer's epoch"),
                Member("parties", Parties(1000), "R19", "[account, party]"),
            ),
        ),
        Kind(
            "back",
            "exchange",
            "Parties that are heard.",
            (
                Member("epoch", ID, "R20", "the writer's epoch"),
                Member("parties", Parties(1000), "R19", "[account, party]"),
            ),
        ),
    )
}


@functools.cache
def kinds(rules: int) -> dict[str, Kind]:
    """The table as it was by a version of the rules: what is newer is unknown there (R34)."""
    return {
        name: replace(kind, members=tuple(_member(member, rules) for member in kind.members))
        for name, kind in KINDS.items()
        if kind.since <= rules
    }


def _member(member: Member, rules: int) -> Member:
    if not isinstance(member.form, Numbers):
        return member
    names = tuple(name for name in member.form.names if NUMBER_SINCE.get(name, 1) <= rules)
    return replace(member, form=Numbers(names))


@functools.cache
def order_members(kind: str, rules: int) -> tuple[Member, ...]:
    """The members of one order among many: those of its kind, without the request's own."""
    return tuple(member for member in kinds(rules)[kind].members if member not in NUMBERED)


@dataclass(slots=True)
class Request:
    """One request message as the log keeps it, checked.

    `sequence` and `time_ns` are the stream's; `body` has every member of its kind, defaults filled in.
    `refusal` is "" or the stable code `rule/member/reason`; then `body` may lack members.
    `content` is the message without its signature: the same content under the same number is the same
    request (R12). `session` and `number` are 0 where they could not be read.
    """

    sequence: int
    time_ns: int
    account: str
    kind: str
    session: int
    number: int
    content: bytes
    body: dict[str, Any]
    refusal: str = ""


def refusal(rule: str, member: str, reason: str) -> str:
    """The stable code of a refusal: it names the rule, the member and the reason."""
    return f"{rule}/{member}/{reason}"


def check(kind: Kind, body: dict[str, Any]) -> str:
    """Check a body against its kind and fill in defaults. Returns "" or the code of the first refusal.

    Members are checked in the table's order, unknown ones last, in the order of their names.
    """
    return check_members(kind.members, body)


def check_members(members: tuple[Member, ...], body: dict[str, Any]) -> str:
    """The same for a part of a body."""
    given = 0
    for member in members:
        name = member.name
        if name in body:
            given += 1
            value = body[name]
            if not member.form.holds(value) and (value is not None or member.default is not None):
                return refusal(member.rule, name, "form")
        elif member.default is REQUIRED:
            return refusal(member.rule, name, "missing")
    if given != len(body):
        return refusal("R12", "member", "unknown")
    if given != len(members):
        for member in members:
            if member.name not in body:
                body[member.name] = member.default
    return ""


def signed_bytes(subject: str, content: bytes) -> bytes:
    """What the signature of a request is over (R35): a mark, the subject, a line feed, the JSON.

    The mark's first byte is in no UTF-8 text, so that a server cannot get a request signed by sending it
    as the text that a client signs to log in.
    """
    return b"\xffcorehour\n" + subject.encode() + b"\n" + content


def encode(key: Key, subject: str, body: dict[str, Any]) -> bytes:
    """The bytes of a request message: the signature, a line feed, the body as JSON."""
    content = dumps(body)
    return key.sign(signed_bytes(subject, content)).encode() + b"\n" + content


def split(data: bytes) -> tuple[str, bytes] | None:
    """(signature, JSON) of a request message, or None if it has no signature line."""
    if len(data) <= SIGNATURE_CHARACTERS or data[SIGNATURE_CHARACTERS : SIGNATURE_CHARACTERS + 1] != b"\n":
        return None
    try:
        return data[:SIGNATURE_CHARACTERS].decode("ascii"), data[SIGNATURE_CHARACTERS + 1 :]
    except UnicodeDecodeError:
        return None


def decode_body(content: bytes) -> dict[str, Any] | None:
    """The JSON object of a request, or None if it is not one."""
    try:
        body = loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


@functools.cache
def model(name: str) -> type[BaseModel]:
    """The pydantic model of a kind of request: for checks at the edge and for the JSON Schema."""
    kind = KINDS[name]
    members: dict[str, Any] = {
        member.name: (
            member.form.annotation() if member.default is not None else member.form.annotation() | None,
            Field(
                ... if member.default is REQUIRED else member.default,
                description=f"{member.meaning} ({member.rule})",
            ),
        )
        for member in kind.members
    }
    return create_model(
        name, __config__=ConfigDict(extra="forbid", title=name), __doc__=kind.purpose, **members
    )
