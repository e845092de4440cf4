"""The rulebook, rule by rule, on the market itself: no servers."""
