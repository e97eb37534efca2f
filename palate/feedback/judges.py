"""Judges made of scorers: a simulated annotator, and a scorer that ranks, chooses or scores."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from palate.interfaces import Scorer
from palate.maths.seeds import seed as named_seed
from palate.records import Choice, Group, Judgement, Ranking, Scores, Tie

Ask = Literal["pairs", "ranking", "scores", "best"]


class SimulatedAnnotator:
    """Chooses like a Bradley-Terry annotator around a known taste.

    P(a over b) = sigmoid((s_a - s_b) / noise); rankings are Plackett-Luce, drawn by adding Gumbel
    noise to s / noise. With noise 0 the better score always wins and equal scores tie.
    """

    def __init__(self, taste: Scorer, *, noise: float, ask: Ask, pairs_per_group: int) -> None:
        self.name = f"annotator:{taste.name}"
        self.taste, self.noise, self.ask = taste, noise, ask
        self.pairs_per_group = pairs_per_group

    def judge(self, groups: Sequence[Group], *, seed: int) -> list[Judgement]:
        """One judgement per asked pair (`pairs`), else one per group."""
        judged: list[Judgement] = []
        for group, scores in zip(groups, self.taste.score(groups), strict=True):
            group_seed = named_seed(seed, "annotator", group.id)
            generator = np.random.Generator(np.random.Philox(group_seed))
            judged += self._judge(group, scores, generator, group_seed)
        return judged

    def _judge(
        self,
        group: Group,
        scores: tuple[float, ...],
        generator: np.random.Generator,
        group_seed: int,
    ) -> list[Judgement]:
        stamp = {"group_id": group.id, "judge": self.name, "seed": group_seed}
        if self.ask == "scores":
            return [Judgement(verdict=Scores(values=scores), **stamp)]
        if self.ask == "pairs":
            return [
                Judgement(verdict=self._choice(scores, pair, generator), order=pair, **stamp)
                for pair in asked_pairs(group.k, self.pairs_per_group, generator)
            ]
        noisy = [s + self.noise * float(generator.gumbel()) for s in scores]
        ranks = tuple(sum(other > own for other in noisy) for own in noisy)
        if self.ask == "best":
            return [Judgement(verdict=Choice(chosen=ranks.index(0)), **stamp)]
        return [Judgement(verdict=Ranking(ranks=ranks), **stamp)]

    def _choice(
        self, scores: tuple[float, ...], pair: tuple[int, int], generator: np.random.Generator
    ) -> Choice | Tie:
        first, second = pair
        difference = scores[first] - scores[second]
        draw = float(generator.random())
        if self.noise == 0:
            if difference == 0:
                return Tie()
            return Choice(chosen=first if difference > 0 else second)
        probability = 1 / (1 + math.exp(-max(-700.0, min(700.0, difference / self.noise))))
        return Choice(chosen=first if draw < probability else second)


def asked_pairs(k: int, limit: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """All C(k, 2) pairs in a random order and with random sides, or only `limit` of them."""
    pairs = list(itertools.combinations(range(k), 2))
    order = generator.permutation(len(pairs))
    kept = [pairs[i] for i in order[: limit or len(pairs)]]
    flips = generator.random(len(kept)) < 0.5
    return [(b, a) if flip else (a, b) for (a, b), flip in zip(kept, flips, strict=True)]


class ScorerJudge:
    """A scorer as a judge: the same verdicts as an annotator, without noise."""

    def __init__(self, scorer: Scorer, *, ask: Ask, pairs_per_group: int) -> None:
        self.name = scorer.name
        self.inner = SimulatedAnnotator(scorer, noise=0.0, ask=ask, pairs_per_group=pairs_per_group)

    def judge(self, groups: Sequence[Group], *, seed: int) -> list[Judgement]:
        """Judgements signed by the scorer's own name."""
        return [
            judgement.model_copy(update={"judge": self.name})
            for judgement in self.inner.judge(groups, seed=seed)
        ]
