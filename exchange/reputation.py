"""Reputation: the good share of the weight of votes, with a prior (R26). Integers only."""

PRIOR = 1_000_000  # micro-credits of fees that the prior weighs, half of it good
PPM = 1_000_000


def share(votes: dict[str, list[int]], whole: int) -> int:
    """The good share in parts per million. O(counterparties).

    `votes` is counterparty to [good, erratic] weight in micro-credits, `whole` their sum. A counterparty
    counts for at most a tenth of the whole, its good and erratic parts shrunk alike.
    """
    most = whole // 10
    good, total = PRIOR // 2, PRIOR
    for good_weight, erratic_weight in votes.values():
        weight = good_weight + erratic_weight
        counted = min(weight, most)
        if counted:
            good += good_weight * counted // weight
            total += counted
    return good * PPM // total
