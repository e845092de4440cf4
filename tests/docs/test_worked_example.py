"""The worked example, on a real market: the order is answered, matched and charged, byte for byte as told."""

import asyncio
import base64
import difflib
import json

from nacl.signing import VerifyKey

from events.keys import Key, raw_key
from events.log import Stored
from exchange.admission import admit
from tests.docs.bare_client import BareClient
from tests.docs.document import DOCUMENT, parts
from tests.docs.worked_example import EXAMPLE, comparable, run, seed_of, text_of


def test_the_bare_clients_key_is_the_markets() -> None:
    for name in ("buyer", "seller"):
        assert BareClient(seed_of(name)).account == Key(seed_of(name)).public


def test_the_example_in_the_document_is_a_real_run() -> None:
    transcript = asyncio.run(run())
    made, said = comparable(text_of(transcript)), comparable(parts(DOCUMENT.read_text("utf-8"))[EXAMPLE])
    difference = "\n".join(difflib.unified_diff(said.split("\n"), made.split("\n"), "document", "run", n=0))
    assert not difference, f"{difference}\nwrite it again: python -m tests.docs.worked_example"


def test_the_requests_in_the_document_are_signed() -> None:
    """Read from the text as a stranger would: what stands there is what the market admits."""
    lines = parts(DOCUMENT.read_text("utf-8"))[EXAMPLE].split("\n")
    admitted = 0
    for line, signature, content in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("C: PUB intake."):
            _, _, subject, size = line.split()
            data = signature[3:].encode() + b"\n" + content[3:].encode()
            assert len(data) == int(size)
            request = admit(Stored(1, 1, subject, data), 1)
            assert request.refusal == "" and request.account == Key(seed_of("buyer")).public
            admitted += 1
        if line.startswith("C: CONNECT"):
            options = json.loads(line.removeprefix("C: CONNECT "))
            info = json.loads(lines[1].removeprefix("S: INFO "))
            raw = raw_key(options["nkey"])
            assert raw is not None
            signed = base64.urlsafe_b64decode(options["sig"] + "==")
            VerifyKey(raw).verify(info["nonce"].encode(), signed)
    assert admitted == 4
