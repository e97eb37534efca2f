"""What a policy answers to the same few prompts again and again while it trains."""

from collections.abc import Sequence

import torch

from palate.batches.padding import fitted, padded, response_mask
from palate.maths.kl import k1
from palate.maths.reductions import masked_sum
from palate.maths.seeds import seed
from palate.records import Prompt
from palate.records.sample import Sample
from palate.store.runs import SAMPLES, StageDir
from palate.training.improve import OnlineLoop
from palate.training.learner import read_all

_PROMPTS = 4
_TIMES = 10
_SEED = seed(0, "watch")


class Watch:
    """Asks a few prompts of the data before the first step, then every few, and after the last.

    The random numbers are the same every time, whatever the run's seed: where answers differ,
    policies do. They are none of training's, which a watch leaves as it is. A run that resumes asks
    again from there.
    """

    def __init__(self, loop: OnlineLoop, folder: StageDir, prompts: Sequence[Prompt]) -> None:
        self.loop, self.folder = loop, folder
        self.prompts = spread(prompts, _PROMPTS)

    def look(self, step: int, total: int) -> None:
        """`step` of `total` steps are done."""
        if step == total or step % max(1, -(-total // _TIMES)) == 0:
            before = [row for row in self.folder.samples() if row.step < step]
            self.folder.write_jsonl(SAMPLES, [*before, *self._asked(step)])

    def _asked(self, step: int) -> list[Sample]:
        actors = self.loop.actors
        drawn = self.loop.draw(self.prompts, _SEED, k=1)
        tokens = [one.tokens for one in drawn]
        reference = read_all(actors.reference.role, tokens, budget=actors.policy.budget).logprobs
        sampled = padded([one.rollouts[0].logprobs for one in drawn], torch.float32)
        own = fitted(sampled, reference.shape[1]).to(reference.device)
        kls = masked_sum(k1(own, reference), response_mask(tokens).to(reference.device))
        return [
            Sample(
                step=step,
                prompt=one.group.prompt,
                response=one.group.responses[0],
                score=one.scores.total[0],
                kl=kl,
            )
            for one, kl in zip(drawn, kls.tolist(), strict=True)
        ]


def spread(prompts: Sequence[Prompt], number: int) -> list[Prompt]:
    """So many different prompts (fewer where there are not as many), from all over the data.

    >>> from palate.records import user_prompt
    >>> [one.text for one in spread([user_prompt(str(i)) for i in range(10)], 3)]
    ['0', '3', '6']
    """
    different = list({prompt.id: prompt for prompt in prompts}.values())
    number = min(number, len(different))
    return [different[i * len(different) // number] for i in range(number)]
