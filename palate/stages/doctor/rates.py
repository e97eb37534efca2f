"""Learning rates that are far above what is usual for large pretrained models.

Usual is what TRL recommends ("PEFT Integration": 2e-5 for SFT, 5e-7 for DPO and 1e-6 for GRPO, ten
times that with LoRA; 1e-4 is its default for reward models) and what InstructGPT's reward model was
trained with (9e-6, Ouyang 2022, arXiv:2203.02155, appendix C). Far above is a judgement: published
recipes that go higher, such as SmolLM2's SFT (3e-4 with 1.7 billion parameters), are within it; the
1e-3 of its smallest models are not. Rates for all weights shrink with the root of the number of
parameters beyond two billion (tinker-cookbook, `get_full_finetune_lr_multiplier`).
"""

import math
from typing import NamedTuple

from palate.config.onpolicy import AnyOnPolicyConfig
from palate.config.stages import DpoConfig, RewardConfig, SftConfig
from palate.stages.doctor.verdicts import Exam, counted, warning

_LARGE = 50_000_000  # parameters from which on a model is hardly one that a laptop has pretrained
_SCALED = 2_000_000_000


class Rates(NamedTuple):
    """A usual learning rate, the highest that is not far above it, and who says what is usual."""

    usual: float
    highest: float
    source: str = "TRL's documentation"


_FULL = {
    "sft": Rates(2e-5, 3e-4),
    "reward": Rates(1e-5, 1e-4, "InstructGPT"),
    "dpo": Rates(5e-7, 1e-5),
}
_LORA = {"sft": Rates(2e-4, 5e-4), "reward": Rates(1e-4, 5e-4), "dpo": Rates(5e-6, 1e-4)}
_FULL_ONLINE, _LORA_ONLINE = Rates(1e-6, 1e-5), Rates(1e-5, 1e-4)


def learning_rate(
    config: SftConfig | RewardConfig | DpoConfig | AnyOnPolicyConfig, parameters: int
) -> Exam[None]:
    """Whether a pretrained model of this size will be trained much faster than is usual."""
    if parameters < _LARGE:
        return
    if config.lora.rank:
        how, rates = "LoRA", _LORA.get(config.stage, _LORA_ONLINE)
        highest = rates.highest
    else:
        how, rates = "all weights", _FULL.get(config.stage, _FULL_ONLINE)
        highest = rates.highest * math.sqrt(min(1.0, _SCALED / parameters))
    if config.optimizer.lr > highest:
        size = counted(parameters, "parameter")
        yield warning(
            f"optimizer.lr = {config.optimizer.lr:g} is far above what is usual for {config.stage} "
            f"of {size} ({how}): about {rates.usual:g}, seldom more than {highest:.1g}",
            f"begin with optimizer.lr = {rates.usual:g} ({rates.source}), unless large batches or "
            "a recipe for this very model ask for more",
        )
