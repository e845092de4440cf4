"""Every NATS subject of the market, in one place. What the server lets whom do is derived from these."""

INTAKE = "INTAKE"  # stream of requests
JOURNAL = "JOURNAL"  # stream of commits
COMMIT = "journal.commit"
PULSE_EXCHANGE = "pulse.exchange"  # {"epoch", "commit", "now", "frozen", "halted"}, once a second
PULSE_FEED = "pulse.feed"  # {"commit"}: how far the feed is, once a second
FEED_MARKET = "feed.market"
CLIENT = "client"  # the party of a buyer's client; a machine must not have this name


def intake(account: str, kind: str) -> str:
    """Where an account publishes a request of this kind."""
    return f"intake.{account}.{kind}"


def feed(account: str) -> str:
    """Where an account is told what concerns it, numbered without gaps."""
    return f"feed.{account}"


def query(account: str, what: str) -> str:
    """Where an account asks the query service."""
    return f"query.{account}.{what}"


def presence(account: str, party: str) -> str:
    """Heartbeats of a party: a machine's name, or `client` for the buyer's client. Never logged."""
    return f"presence.{account}.{party}"


def link(to: str, sender: str, contract: int) -> str:
    """Frames of a link; the server lets nobody send in another's name or read another's."""
    return f"link.{to}.{sender}.{contract}"


def snapshot(account: str, what: str) -> str:
    """Where the operator and the exchange ask for snapshots: `list`, `piece`."""
    return f"snapshot.{account}.{what}"


def inbox(account: str) -> str:
    """The prefix of an account's own reply subjects; nobody else may listen there."""
    return f"_INBOX.{account}"


def parse_intake(subject: str) -> tuple[str, str] | None:
    """(account, kind) of an intake subject, or None if it is not one."""
    parts = subject.split(".")
    if len(parts) != 3 or parts[0] != "intake":
        return None
    return parts[1], parts[2]
