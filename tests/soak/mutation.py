"""Mutations of valid messages: the JSON in them is changed member by member, now and then the bytes."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from events.requests import MOST_BYTES

MOST_INPUT = MOST_BYTES + 1024


class Raw(bytes):
    """Bytes that stand in a JSON text as they are."""


class Pairs(list[Any]):
    """An object's members as [name, value], so that a name may stand twice."""


ODD = tuple(
    map(
        Raw,
        (
            b"null", b"true", b"false", b"0", b"-0", b"-1", b"1", b"2", b"1.0", b"0.5", b"1e2", b"1E400",
            b"NaN",
            b"-Infinity", b"01", b"+1", b"9007199254740991", b"9007199254740992", b"2147483648",
            b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809",
            b"1" + b"0" * 40, b"9" * 4400, b'""', b'"0"', b'"1"', b'"a\\n"', b'"\\u0000"', b'"\\u007f"',
            b'"\\u2028"', b'"\\u202e"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff\xfe"',
            b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\\x"', b'"\t"', b"'a'", b"[]", b"{}", b"[[]]", b'{"":{}}',
            b"[null]",
            b'"' + b"a" * 201 + b'"', b'"' + b"a" * 70_000 + b'"', b"[" * 200 + b"]" * 200,
            b"[" * 300 + b"]" * 300, b"[" * 1010 + b"]" * 1010, b"[" * 1023 + b"]" * 1023,
            b'{"a":' * 1010 + b"1" + b"}" * 1010, b"[" * 5000, b"[" * 5000 + b"]" * 5000,
            b"[" + b"0," * 3000 + b"0]", b"",
        ),
    )
)  # fmt: skip
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
SPACES = (b"", b"", b"", b"", b"", b"", b" ", b"\n", b"\t\r\n ", b"\x0b", b"\x00", b"\xa0", b"\xef\xbb\xbf")


def altered(data: bytes, dice: random.Random, words: Sequence[str]) -> bytes:
    """A message with one to three things changed; never longer than MOST_INPUT. O(its length)."""
    start = min((at for at in (data.find(b"{"), data.find(b"[")) if at >= 0), default=-1)
    lines = data[start:].split(b"\n") if start >= 0 else []
    if len(lines) > 2 and dice.random() < 0.8:
        at = dice.randrange(len(lines))
        lines[at : at + 1] = [altered(lines[at], dice, words)] * dice.choice((1,) * 9 + (0, 2))
        return (data[:start] + b"\n".join(lines))[:MOST_INPUT]
    if start >= 0 and dice.random() < 0.85:
        try:
            tree = [json.loads(data[start:], object_pairs_hook=_pairs)]
        except (ValueError, RecursionError):
            pass
        else:
            for _ in range(dice.choice((1, 1, 1, 2, 3))):
                _change(tree, dice, words)
            try:
                text = b"".join(written(item, dice) for item in tree)
            except RecursionError:
                text = data[start:]
            data = data[:start] + text
            if dice.random() < 0.9:
                return data[:MOST_INPUT]
    return _bytes_changed(data, dice)[:MOST_INPUT]


def _pairs(members: list[tuple[str, Any]]) -> Pairs:
    return Pairs([name, value] for name, value in members)


def written(value: Any, dice: random.Random) -> bytes:
    """The JSON text of a tree; white space where the dice put it."""
    gap = dice.choice(SPACES) if dice.random() < 0.02 else b""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Pairs):
        members = (_text(name) + b":" + gap + written(item, dice) for name, item in value)
        return b"{" + gap + b",".join(members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(written(item, dice) for item in value) + gap + b"]"
    return _text(value) + gap


def _text(value: Any) -> bytes:
    if isinstance(value, Raw):
        return value
    return _ENCODE(value).encode("utf-8", "surrogatepass")


def _change(tree: list[Any], dice: random.Random, words: Sequence[str]) -> None:
    """Change one place, somewhere in the tree."""
    holder, depth = tree, 0
    while True:
        places = range(len(holder))
        if not places:
            holder.append(Pairs([["a", 1]]) if holder is tree else dice.choice(ODD))
            return
        at = dice.choice(places)
        value = holder[at][1] if isinstance(holder, Pairs) else holder[at]
        if isinstance(value, list) and value and (depth == 0 or dice.random() < 0.6) and dice.random() < 0.97:
            holder, depth = value, depth + 1
            continue
        break
    if isinstance(holder, Pairs):
        dice.choice(_MEMBER)(holder, at, dice, words)
    else:
        dice.choice(_ITEM)(holder, at, dice, words)


def _drop(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    del holder[at]


def _double(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    value = holder[at]
    if isinstance(holder, Pairs):
        value = [value[0], _other(value[1], dice, words)]
    times = 300 if dice.random() < 0.02 and len(holder) < 50 else dice.choice((1, 1, 2))
    at = dice.randrange(len(holder) + 1)
    holder[at:at] = [value] * times


def _replace(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    if isinstance(holder, Pairs):
        holder[at] = [holder[at][0], dice.choice(ODD)]
    else:
        holder[at] = dice.choice(ODD)


def _nudge(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    if isinstance(holder, Pairs):
        holder[at] = [holder[at][0], _other(holder[at][1], dice, words)]
    else:
        holder[at] = _other(holder[at], dice, words)


def _rename(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    name, value = holder[at]
    new = dice.choice(
        (*words, str(name).upper(), f"{name} ", "", Raw(b'"\\ud800"'), Raw(b"1"), Raw(b'"\xff"'))
    )
    holder[at] = [new, value]


def _add(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    value = dice.choice((*ODD, *words))
    holder.insert(at, [dice.choice((*words, "", "a" * 300)), value] if isinstance(holder, Pairs) else value)


def _shuffle(holder: list[Any], at: int, dice: random.Random, words: Sequence[str]) -> None:
    dice.shuffle(holder)


def _other(value: Any, dice: random.Random, words: Sequence[str]) -> Any:
    """Another value, near this one."""
    match value:
        case bool():
            return not value
        case int():
            near = (
                value - 1,
                value + 1,
                -value,
                value * 10,
                value + (1 << 32),
                value % (1 << 53) / 1,
                str(value),
            )
            return dice.choice((*near, dice.randrange(100)))
        case str():
            at = dice.randrange(len(value) + 1)
            odd = dice.choice(("a", "A", ".", " ", "\n", "\0", "é", "\u2028", "=", "*", ">", "\x7f"))
            near_texts = (
                value[:at] + odd + value[at:],
                value[:at],
                value[at:] + odd,
                value.swapcase(),
                value * 40,
            )
            return dice.choice((*near_texts, dice.choice(words), [value]))
        case _:
            return dice.choice(ODD)


_Change = Callable[[list[Any], int, random.Random, Sequence[str]], None]
_ITEM: tuple[_Change, ...] = (_drop, _double, _replace, _nudge, _nudge, _add, _shuffle)
_MEMBER: tuple[_Change, ...] = (*_ITEM, _rename)


def _bytes_changed(data: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, added, lost, doubled."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(out) + 1)
        to = min(len(out), at + dice.choice((1, 1, 2, 4, 8, 30)))
        match dice.randrange(6):
            case 0:
                out[at:to] = b""
            case 1:
                out[at:at] = dice.randbytes(dice.choice((1, 1, 4, 8, 40)))
            case 2:
                out[at:to] = dice.randbytes(to - at)
            case 3:
                out[at:at] = out[at:to] * dice.choice((1, 2, 100))
            case 4 if at < len(out):
                out[at] = (out[at] + dice.choice((1, -1, 128))) % 256
            case _:
                out[at:to] = dice.choice((b"\0", b"\xff", b"\n", b"\r\n", b" ", b".", b"{}", b"\xff" * 8))
    return bytes(out)
