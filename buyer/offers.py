"""What the market offers under a screen now: for --dry-run."""

from dataclasses import dataclass
from typing import Any

from events.cli import counted, credits, show
from events.client import Client
from events.pages import whole
from events.profile import Screen


@dataclass(frozen=True, slots=True)
class Offer:
    """CPUs of one ask that a bid could have now: its price is within the limit, its machine passes.

    `mips` and `mflops` are what its seller measured of each; 0 where he did not.
    """

    machine: str
    seller: str
    price: int
    cpus: int
    mips: int
    mflops: int


@dataclass(frozen=True, slots=True)
class Offers:
    """What a bid meets: the offers, cheapest first; machines in all; the asker's free money."""

    offers: list[Offer]
    machines: int
    free: int


async def offers_under(client: Client, limit: int, screen: Screen) -> Offers:
    """Ask the market. Raises QueryError, NoAnswerError."""
    machines = (await whole(client, "machines"))["result"]
    account = (await client.query("account"))["result"]
    return Offers(pick(machines, client.account, limit, screen), len(machines), account["free"])


def pick(machines: list[dict[str, Any]], buyer: str, limit: int, screen: Screen) -> list[Offer]:
    """The offers in the rows of the query `machines`, cheapest first (R5, R6)."""
    found = []
    for row in machines:
        if not row["ready"] or row["account"] == buyer:
            continue
        if not screen.passes(row["numbers"], row["flags"], row["account"]):
            continue
        for ask in row["asks"]:
            cpus = ask["size"] - ask["running"]
            if ask["price"] <= limit and cpus > 0:
                speed = (row["numbers"].get(name, 0) for name in ("mips", "mflops"))
                offer = Offer(row["machine"], row["name"], ask["price"], cpus, *speed)
                found.append((ask["price"], ask["order"], offer))
    return [offer for _, _, offer in sorted(found, key=lambda each: each[:2])]


def show_offers(found: Offers, limit: int, size: int, screen: Screen, as_json: bool, units: int = 0) -> None:
    """Print what a bid would be, the most it can cost, and what it would meet; nothing was sent."""
    hourly = limit * size
    if as_json:
        plan: dict[str, Any] = {
            "price": limit,
            "size": size,
            "screen": str(screen),
            "hourly": hourly,
            "free": found.free,
            "machines": found.machines,
            "offers": found.offers,
        }
        show(plan | ({"units": units} if units else {}))
        return
    if units:
        print(f"{counted(units, 'unit')} of work")
    print(
        f"bid: {counted(size, 'CPU')} at {credits(limit)} or less an hour, screen: {screen or 'any machine'}"
    )
    print(f"most it can cost: {credits(hourly)} an hour; you have {credits(found.free)} free")
    if found.free < limit:
        print("it would be refused: free money must cover one CPU hour at its limit (R11)")
    if not found.offers:
        print(f"no offer passes now, of {counted(found.machines, 'machine')}; the bid would rest in the book")
    for offer in found.offers:
        cpus = counted(offer.cpus, "CPU")
        speed = f"{offer.mips} mips, {offer.mflops} mflops" if offer.mips else "not measured"
        print(f"  {cpus} of {offer.machine} ({offer.seller}) at {credits(offer.price)} an hour, {speed}")
    print("nothing was sent")
