"""Reputation: the good share of the weight of votes, with a prior (R26). Integers only."""

PRIOR = 1_000_000  # micro-credits of fees that the prior weighs, half of it good
PPM = 1_000_000
SHARE = 10  # no counterparty makes up more than a tenth of the total


def share(votes: dict[str, list[int]]) -> int:
    """The good share in parts per million. O(n log n) for n counterparties.

    `votes` is counterparty to [good, erratic] weight in micro-credits. The total is the prior and what is
    counted; whoever weighs more than a tenth of it is shrunk to a tenth, good and erratic parts alike.
    """
    most = largest_counted(sorted((good + erratic for good, erratic in votes.values()), reverse=True))
    good, total = PRIOR // 2, PRIOR
    for good_weight, erratic_weight in votes.values():
        weight = good_weight + erratic_weight
        counted = min(weight, most)
        if counted:
            good += good_weight * counted // weight
            total += counted
    return good * PPM // total


def largest_counted(weights: list[int]) -> int:
    """The most that one counterparty counts, for weights in falling order.

    With the first k shrunk to c, the total is PRIOR + k * c + the rest, and c is its tenth:
    c = (PRIOR + rest) / (10 - k). The ninth at the latest fits, for the tenth is part of its own rest.
    """
    rest = PRIOR + sum(weights)
    most = rest // SHARE
    for k, weight in enumerate(weights):
        if weight <= most:
            break
        rest -= weight
        assert k + 1 < SHARE, weights[:SHARE]
        most = rest // (SHARE - k - 1)
    return most
