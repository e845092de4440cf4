"""What a stranger says on a link: packets, frames, and what buyer and seller read in them."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from buyer.job import Ended, Unit
from buyer.results import Results, TooMuchError
from buyer.run import FaultError, LostError, Program, RefusedRunError, exit_of, why_of
from buyer.run import Session as BuyerSession
from events.wire import dumps
from links import frames as f
from links import link as links
from links.endpoint import Endpoint
from links.frames import BadFrameError, Frame, Packet, pack, pack_frame, unpack, unpack_frame
from seccomp import Limits
from seller_node.bandwidth import Ahead
from seller_node.run import BadStartError, Jails, read_start
from seller_node.session import Session
from tests.market.play import key_of
from tests.soak.decoders import Target, assert_line, joined, loop, pieces
from tests.soak.decoders.files import Directory

DIAL = 1_700_000_000_000_000  # of the links in this file
PEER, OWN, STRANGER = (key_of(name).public for name in ("peer", "own", "stranger"))
CONTRACT = 7
PROGRAM_TEXT = b"print(1)"


def packet(kind: int, sequence: int = 0, received: int = 0, taken: int = 0, body: bytes = b"") -> bytes:
    return pack(Packet(kind, DIAL, sequence, received, taken, body))


def data(sequence: int, kind: int, run: int = 1, payload: bytes = b"", received: int = 0) -> bytes:
    return packet(f.DATA, sequence, received, 0, pack_frame(Frame(kind, run, payload)))


START_TEXT = dumps({"runtime": "native/x86_64-linux", "arguments": ["a"], "sha256": "0" * 64, "size": 8})
PACKETS = [
    packet(f.OPEN), packet(f.ACK), packet(f.PING), packet(f.CLOSE), packet(f.RESET), packet(f.ACK, 0, 2, 1),
    data(0, f.START, payload=START_TEXT), data(1, f.PROGRAM, payload=PROGRAM_TEXT),
    data(2, f.INPUT, payload=b"in"), data(3, f.INPUT_END), data(4, f.KILL), data(0, 200, received=3),
]  # fmt: skip


def check_packet(data: bytes) -> None:
    """A packet, and the frame in it, pack to the same bytes, or they are refused by name."""
    try:
        found = unpack(data)
    except BadFrameError as error:
        assert_line(str(error))
        return
    assert pack(found) == data
    try:
        frame = unpack_frame(found.body)
    except BadFrameError as error:
        assert_line(str(error))
    else:
        assert pack_frame(frame) == found.body


def run(work: Awaitable[None]) -> None:
    """Run it; what other tasks raise counts."""
    faults: list[Any] = []
    loop().set_exception_handler(lambda loop, context: faults.append(context))
    loop().run_until_complete(work)
    assert not faults, faults


async def turn(times: int = 4) -> None:
    """Let what is ready run."""
    for _ in range(times):
        await asyncio.sleep(0)


def make_link(sent: list[bytes], *, dialled: bool) -> links.Link:
    async def transmit(data: bytes) -> None:
        sent.append(data)

    return links.Link(PEER, CONTRACT, DIAL, transmit, lambda link: None, dialled=dialled)


def assert_sound(link: links.Link, sent: list[bytes]) -> None:
    """The link is within its bounds, or it ended and says why; what it sends are packets."""
    for message in sent:
        assert unpack(message).incarnation == DIAL
    if link.closed:
        assert_line(link.closed)
        return
    assert not link._pump_task.done()
    assert link._acked <= link._fresh <= link._next and link._peer_took <= link._acked
    assert len(link._kept) == link._next - link._acked and len(link._sizes) == link._next - link._peer_took
    assert link._outstanding == sum(link._sizes)
    assert link._taken <= link._expected <= link._seen <= link._taken + links.WINDOW_FRAMES
    assert len(link._ready) == link._expected - link._taken and len(link._early) < links.WINDOW_FRAMES
    assert link._held == sum(len(frame.payload) for frame in (*link._ready, *link._early.values()))
    assert link._held <= links.WINDOW_BYTES + f.MOST_PAYLOAD


class Dialled:
    """A link that takes packets: a byte for how it began, then the packets."""

    def __call__(self, data: bytes) -> None:
        run(self._arrive(data))

    async def _arrive(self, data: bytes) -> None:
        sent: list[bytes] = []
        begin = data[0] if data else 0
        link = make_link(sent, dialled=bool(begin & 1))
        for number in range(begin >> 1 & 3):
            await link.send(Frame(f.INPUT, 1, b"x" * number))
        await turn()
        for message in pieces(data[1:]):
            try:
                found = unpack(message)
            except BadFrameError:
                continue  # the endpoint drops it
            link.arrived(found)
            if begin & 8 and link._ready:
                await link.receive()
            await turn(2)
            assert_sound(link, sent)
        link.abort("the end", tell=0)
        await turn()
        assert link._pump_task.done() and link._pump_task.exception() is None


def link_seeds() -> list[bytes]:
    few = [
        PACKETS,
        PACKETS[1:3],
        PACKETS[5:6],
        PACKETS[6:11],
        [data(n, f.INPUT, payload=b"x" * 100) for n in (2, 1, 0, 0)],
    ]
    return [bytes([begin]) + joined(some) for begin in (0, 1, 6, 7, 14) for some in few]


class Arrival:
    """An endpoint that hears of dials and packets: a subject, a zero byte, the packet; many of them."""

    def __call__(self, data: bytes) -> None:
        run(self._arrive(data))

    async def _arrive(self, data: bytes) -> None:
        hear: list[Callable[[Msg], Awaitable[None]]] = []
        said: list[str] = []

        async def subscribe(subject: str, cb: Callable[[Msg], Awaitable[None]], **rest: int) -> Any:
            hear.append(cb)
            return SimpleNamespace(unsubscribe=None)

        async def publish(subject: str, data: bytes) -> None:
            said.append(subject)
            unpack(data)

        nc = cast(Nats, SimpleNamespace(subscribe=subscribe, publish=publish, is_connected=True))
        endpoint = Endpoint(cast(Any, SimpleNamespace(nc=nc, account=OWN)))
        endpoint.allow = lambda contract, peer: (contract, peer) == (CONTRACT, PEER)
        await endpoint.start()
        for message in pieces(data):
            subject, _, packet = message.partition(b"\0")
            await hear[0](Msg(_client=nc, subject=subject.decode("utf-8", "replace"), data=packet))
            await turn(2)
            assert endpoint._links.keys() | endpoint._ended.keys() <= {(PEER, CONTRACT)}
            for link in endpoint._links.values():
                assert not link.closed
        assert set(said) <= {f"link.{PEER}.{OWN}.{CONTRACT}"}, said
        for link in list(endpoint._links.values()):
            link.abort("the end", tell=0)
        await turn()


def arrival_seeds() -> list[bytes]:
    places = [(PEER, CONTRACT), (PEER, 8), (STRANGER, CONTRACT)]
    subjects = [f"link.{OWN}.{peer}.{contract}".encode() for peer, contract in places]
    dial, again = PACKETS[0], pack(Packet(f.OPEN, DIAL + 1))
    talk = [dial, *PACKETS[1:], again, PACKETS[6]]
    return [
        joined([subject + b"\0" + one for one in talk[:most]]) for subject in subjects for most in (1, 4, 14)
    ]


class Served:
    """A seller's session: the frames of a buyer, one after the other; no runtime is offered."""

    def __call__(self, data: bytes) -> None:
        run(self._serve(data))

    async def _serve(self, data: bytes) -> None:
        sent: list[bytes] = []
        link = make_link(sent, dialled=False)
        jails = Jails({}, Limits(256))
        jails.thawed.set()
        session = Session(link, jails, 0, Ahead(jails.most_program()), lambda: None)
        serving = asyncio.create_task(session.serve())
        for number, body in enumerate(pieces(data)):
            link.arrived(Packet(f.DATA, DIAL, number, 0, 0, body))
            await turn(6)
            assert link.closed != "a fault of the seller's node"
            assert_sound(link, sent)
        link.abort("the end", tell=0)
        await serving
        await turn()


def served_seeds() -> list[bytes]:
    begin = pack_frame(Frame(f.START, 1, START_TEXT))
    rest = [pack_frame(Frame(kind, 1, PROGRAM_TEXT)) for kind in (f.PROGRAM, f.INPUT, f.INPUT_END, f.KILL)]
    again = pack_frame(Frame(f.START, 2, START_TEXT.replace(b'"size":8', b'"size":0')))
    return [
        joined([begin, *rest]),
        joined([begin, rest[0], again, *rest]),
        joined([again, begin]),
        joined(rest),
    ]


class Bought(Directory):
    """A buyer's session: the frames of a seller, one after the other, until it ends by a named error."""

    def __call__(self, data: bytes) -> None:
        run(self._buy(data))

    async def _buy(self, data: bytes) -> None:
        async def patience(what: Awaitable[Any], else_say: str) -> None:
            await what

        sent: list[bytes] = []
        link = make_link(sent, dialled=False)
        program = Program(PROGRAM_TEXT, "python/3.11", ["f"])
        results = Results(self.path, self.path, "unit", CONTRACT, 1)
        session = BuyerSession(link, program, patience, lambda: None)
        running = asyncio.create_task(session.run(Unit("unit", b"input"), results))
        await turn()
        for number, body in enumerate(pieces(data)):
            link.arrived(Packet(f.DATA, DIAL, number, link._fresh, link._fresh, body))
            await turn(6)
            assert_sound(link, sent)
        link.abort("the end", tell=0)
        try:
            assert isinstance(await running, Ended)
        except (FaultError, LostError, RefusedRunError, TooMuchError) as error:
            assert_line(str(error))
        results.discard()
        await turn()
        assert not list(self.path.iterdir())


def bought_seeds() -> list[bytes]:
    told = [(f.STARTED, b""), (f.OUTPUT, b"out"), (f.ERRORS, b"err"), (f.EXIT, end_seeds()[0])]
    frames = [pack_frame(Frame(kind, 1, payload)) for kind, payload in told]
    refused = pack_frame(Frame(f.REFUSED, 1, b'{"why":"no"}'))
    return [joined(frames), joined([refused]), joined([*frames[:2], refused]), joined(frames[3:])]


def check_start(data: bytes) -> None:
    """START: what it says, or the member that is wrong."""
    try:
        start = read_start(data)
    except BadStartError as error:
        assert_line(str(error))
        return
    assert start.size >= 0 and len(start.sha256) == 64 and all(type(text) is str for text in start.arguments)


def check_end(data: bytes) -> None:
    """EXIT and REFUSED, as the buyer reads them."""
    try:
        ended = exit_of(data, CONTRACT)
    except FaultError as error:
        assert_line(str(error))
    else:
        assert isinstance(ended, Ended)
        assert all(type(value) is int and value >= 0 for value in (ended.status, ended.signal, ended.cpu_us))
        assert "\n" not in ended.why
        dumps(ended)
    try:
        assert "\n" not in why_of(data)
    except FaultError as error:
        assert_line(str(error))


def end_seeds() -> list[bytes]:
    exit_ = {"status": 0, "signal": 0, "cpu_us": 5, "memory_kb": 9, "bytes_in": 1, "bytes_out": 2, "why": ""}
    killed = {"status": None, "signal": 9, "why": "too much memory"}
    return [
        dumps(exit_),
        dumps(exit_ | killed),
        dumps(exit_ | killed | {"signal": None}),
        dumps({"why": "no"}),
    ]


TARGETS = [
    Target("packet", lambda: check_packet, lambda: PACKETS, 150, json=False),
    Target("link", Dialled, link_seeds, 20, json=False),
    Target("endpoint", Arrival, arrival_seeds, 10, json=False),
    Target("session", Served, served_seeds, 6, json=False),
    Target("buyer", Bought, bought_seeds, 4, json=False),
    Target("start", lambda: check_start, lambda: [START_TEXT], 60),
    Target("end", lambda: check_end, end_seeds, 60),
]
