"""Texts of strangers, made fit for a terminal: none of them moves its cursor, or turns a line around."""

import unicodedata

MOST_TEXT = 500  # characters of a reason
# Control and format characters (those that change the direction of writing among them), halves of a
# character, and the separators of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, keep: str = "") -> str:
    r"""The text with every control or format character, but those of `keep`, written as \x1b. O(length)."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character not in keep and unicodedata.category(character) in _UNSEEN
        else character
        for character in text
    )


def one_line(text: str) -> str:
    """A reason for a person: one visible line of at most MOST_TEXT characters."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= MOST_TEXT else line[: MOST_TEXT - 3] + "..."
