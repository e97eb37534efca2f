"""From judgements to preferences: several votes about one pair become a soft label."""

from collections.abc import Sequence

from palate.records import Group, Judgement, Preference, PreferenceGroup, preferences_of


def settled(group: Group, judgements: Sequence[Judgement]) -> PreferenceGroup | None:
    """One preference per judged pair of different texts; None when nothing was said.

    The probability is the mean of the votes, the margin their mean; the winner is the side with at
    least half of the votes. Two responses with the same text cannot be preferred to one another.
    """
    votes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for judgement in judgements:
        for p in preferences_of(judgement.verdict, judgement.order or range(group.k)):
            low, high = sorted((p.winner, p.loser))
            if group.responses[low].text == group.responses[high].text:
                continue
            towards_low = p.probability if p.winner == low else 1 - p.probability
            votes.setdefault((low, high), []).append((towards_low, p.margin))
    preferences: list[Preference] = []
    for (low, high), cast in votes.items():
        probability = sum(vote for vote, _ in cast) / len(cast)
        margin = sum(margin for _, margin in cast) / len(cast)
        winner, loser = (low, high) if probability >= 0.5 else (high, low)
        preferences.append(
            Preference(
                winner=winner,
                loser=loser,
                probability=max(probability, 1 - probability),
                margin=margin,
            )
        )
    if not preferences:
        return None
    return PreferenceGroup(group=group, preferences=tuple(preferences))
