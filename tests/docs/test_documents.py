"""The documents say what the code does; where they differ, the document is rewritten or this fails."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from events import commit, subjects
from events.records import EVENTS, MEMBERS
from events.refusals import CODES
from events.requests import KINDS, MOST_BYTES, signed_bytes
from exchange.entities import MOST_NUMBERS, MOST_SESSIONS
from links import frames
from links.link import WINDOW_BYTES, WINDOW_FRAMES
from projections.queries import QUERIES
from seccomp.benchmark import answers, scores
from tests.docs import generate
from tests.docs.document import DOCUMENT, ROOT, parts, replace
from tests.docs.meanings import ADVICE, EVENT_MEMBERS, RESULTS

AGAIN = "write it again: python -m tests.docs.generate"


@pytest.mark.parametrize("name", sorted(generate.PARTS))
def test_a_generated_part_is_what_the_code_says(name: str) -> None:
    assert parts(DOCUMENT.read_text("utf-8"))[name] == generate.PARTS[name](), AGAIN


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_schema_is_what_the_model_says(kind: str) -> None:
    assert (generate.SCHEMAS / f"{kind}.json").read_text("utf-8") == generate.schema(kind), AGAIN


def test_there_is_no_schema_too_many() -> None:
    assert {path.stem for path in generate.SCHEMAS.glob("*")} == set(KINDS), AGAIN


def test_nothing_is_explained_that_is_not_there() -> None:
    named = {name for members in MEMBERS.values() for name in members}
    of_kinds = {f"{kind}.{name}" for kind, members in MEMBERS.items() for name in members}
    assert set(EVENT_MEMBERS) <= named | of_kinds
    assert set(ADVICE) == set(CODES)
    assert set(RESULTS) == set(QUERIES)


def test_the_documents_numbers_are_the_codes() -> None:
    """What the hand-written part says with a number or a name of the code's."""
    text = " ".join(DOCUMENT.read_text("utf-8").split())
    for said in (
        f"last {MOST_NUMBERS:,} numbers of each of an account's last {MOST_SESSIONS} sessions",
        f"{MOST_BYTES:,} bytes",
        f"{frames.MOST_PAYLOAD:,} bytes",
        f"{WINDOW_BYTES:,} bytes",
        f"{WINDOW_FRAMES} frames",
        f"{commit.PART_BYTES:,} bytes",
        f"`{subjects.COMMIT}`",
        f"`{subjects.PULSE_EXCHANGE}`",
        f"`{subjects.PULSE_FEED}`",
        f"`{subjects.FEED_MARKET}`",
        f'"rules": {commit.RULES}',
        "bytes `ff 63 6f 72 65 68 6f 75 72 0a`",
    ):
        assert said in text, said
    assert signed_bytes("s", b"c") == bytes.fromhex("ff 63 6f 72 65 68 6f 75 72 0a") + b"s\nc"
    for name in (
        "START",
        "PROGRAM",
        "INPUT",
        "INPUT_END",
        "KILL",
        "STARTED",
        "OUTPUT",
        "ERRORS",
        "EXIT",
        "REFUSED",
    ):
        assert f"| {getattr(frames, name)} | `{name}` |" in text, name
    for name in ("OPEN", "DATA", "ACK", "PING", "CLOSE", "RESET"):
        assert f"| {getattr(frames, name)} | `{name}` |" in text, name


def test_every_kind_is_named_once() -> None:
    text = DOCUMENT.read_text("utf-8")
    for kind in (*KINDS, *EVENTS):
        assert text.count(f"### `{kind}`\n") == 1 + (kind in QUERIES), kind


def test_the_examples_in_the_schemas_language_hold() -> None:
    """A schema is JSON, closed against other members, and names the required ones."""
    for kind, table in KINDS.items():
        schema = json.loads((generate.SCHEMAS / f"{kind}.json").read_text("utf-8"))
        assert schema["additionalProperties"] is False
        assert set(schema["properties"]) == {member.name for member in table.members}
        required = {member.name for member in table.members if generate.default(member) == "required"}
        assert set(schema["required"]) == required


def test_the_benchmarks_definition_is_the_codes() -> None:
    text = (DOCUMENT.parent / "benchmark.md").read_text("utf-8")
    counted = {f"| `{k}` | {work:,}" for k, work in scores.KERNELS.items()}
    rows = (line.split(" | ") for line in text.splitlines() if line.startswith("| `"))
    assert {f"{row[0]} | {row[3].rstrip(' |')}" for row in rows} == counted
    primes = answers._small_primes()
    crossed = round(sum(answers.WIDTH / prime for prime in primes))
    for said in (
        f"{len(primes):,} primes",
        f"3 · ({crossed:,} + {answers.WIDTH:,})",
        f"{answers.STEPS:,} steps",
    ):
        assert said in text, said
    rest = range(answers.N)
    assert {
        "mips": {"sieve": 3 * (crossed + answers.WIDTH), "mix": 16 * answers.STEPS},
        "mflops": {
            "matrix": 2 * answers.N**3,
            "lu": sum(m + 2 * m * m for m in rest),
            "triad": 2 * answers.LENGTH * answers.PASSES,
        },
    } == scores.OPERATIONS


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_links_within_the_protocol_lead_somewhere() -> None:
    text = DOCUMENT.read_text("utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert len(targets) > 20 and targets <= slugs, targets - slugs


def test_parts_are_replaced_and_nothing_else() -> None:
    text = "a\n<!-- generated: one -->\nold\n<!-- end -->\nb\n"
    assert replace(text, {"one": "new\n"}) == text.replace("old", "new")
    assert replace(text, {}) == text
    with pytest.raises(KeyError):
        replace(text, {"two": ""})


def test_every_dependency_is_explained_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = [line for lines in project["optional-dependencies"].values() for line in lines]
    wanted = {re.split(r"[<>=\[]", line)[0] for line in (*project["dependencies"], *optional)}
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    rows = re.findall(r"^\| \[([A-Za-z0-9_-]+)\]\(https://[^)]+\) \|(.*)\|$", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(wanted)
    for name, rest in rows:
        cells = [cell.strip() for cell in rest.split("|")]
        assert len(cells) == 3 and all(cells), name


def test_the_licence_is_here() -> None:
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in Path(ROOT / "COPYING.LESSER").read_text("utf-8")
    assert "LGPL-3.0-or-later" in Path(ROOT / "README.md").read_text("utf-8")
