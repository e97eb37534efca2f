"""How far updates moved the sampled tokens' probabilities, against the bounds that clip them."""

from collections import Counter
from dataclasses import replace

import torch

from palate.algorithms.onpolicy import Algorithm
from palate.algorithms.rlhf import importance_ratio
from palate.batches.experience import Experience
from palate.config.onpolicy import AnyOnPolicyConfig, ClippedConfig, ReinforceConfig
from palate.interfaces import Loss, Outputs
from palate.maths.surrogates import ratio_bins
from palate.records.ratios import RATIO_BINS, RatioCounts
from palate.store.runs import RATIOS, StageDir

_TIMES = 20


class RatioWatch:
    """Counts the ratios of up to twenty steps on the way, and of the last, into `ratios.jsonl`.

    A step's counts are those of all its updates. Methods that clip nothing write no file; a run
    that resumes drops what the lost steps counted.
    """

    def __init__(self, folder: StageDir, config: AnyOnPolicyConfig) -> None:
        self.folder, self.config = folder, config
        self._counting = False
        self._counts: Counter[tuple[bool, int]] = Counter()

    def watching(self, algorithm: Algorithm) -> Algorithm:
        """The algorithm, whose loss is overheard in the steps that are counted."""
        config = self.config
        if not isinstance(config, ClippedConfig) or _clips_nothing(config):
            return algorithm

        def loss(
            outputs: Outputs, experience: Experience, given: object, *, kl_coef: float
        ) -> Loss:
            if self._counting:
                self._count(outputs, experience, config)
            return algorithm.loss(outputs, experience, given, kl_coef=kl_coef)

        return replace(algorithm, loss=loss)

    def before(self, step: int, total: int) -> None:
        """A step begins: is it one of those that are counted?"""
        self._counting = step + 1 == total or step % max(1, -(-total // _TIMES)) == 0
        self._counts.clear()

    def after(self, step: int) -> None:
        """A step is done: its counts join those of the steps before."""
        if not self._counts or not isinstance(self.config, ClippedConfig):
            return
        raised, lowered = (
            tuple(self._counts[sign, i] for i in range(RATIO_BINS)) for sign in (True, False)
        )
        low, high = self.config.clip_low, self.config.clip_high
        row = RatioCounts(step=step, low=low, high=high, raised=raised, lowered=lowered)
        before = [row for row in self.folder.ratios() if row.step < step]
        self.folder.write_jsonl(RATIOS, [*before, row])

    @torch.no_grad()
    def _count(self, outputs: Outputs, experience: Experience, config: ClippedConfig) -> None:
        ratio = importance_ratio(outputs.logprobs, experience, config)
        bins = (
            ratio_bins(ratio, low=config.clip_low, high=config.clip_high).long() + RATIO_BINS // 2
        )
        for sign, counted in (
            (True, experience.advantages > 0),
            (False, experience.advantages < 0),
        ):
            found = bins[counted & experience.mask]
            for index, n in enumerate(torch.bincount(found, minlength=RATIO_BINS).tolist()):
                self._counts[sign, index] += n


def _clips_nothing(config: ClippedConfig) -> bool:
    return isinstance(config, ReinforceConfig) and config.surrogate == "policy_gradient"
