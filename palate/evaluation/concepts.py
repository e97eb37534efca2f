"""The ideas of RLHF that a run can show: the section of its page, or the command that shows it."""

from collections.abc import Collection
from typing import NamedTuple

from palate.evaluation.restraints import KlControl

_CAFE = "palate run recipes/cafe.toml"


class Concept(NamedTuple):
    """An idea, the section that shows it (empty: none does), and the command that shows it."""

    name: str
    section: str
    command: str


CONCEPTS = (
    Concept("supervised fine-tuning, before and after RLHF", "before-after", _CAFE),
    Concept("the reward model, an automatic judge", "reward-model", _CAFE),
    Concept("credit assignment: which tokens earned it", "credit", _CAFE),
    Concept("PPO's clip: ratios against their bounds", "clip", _CAFE),
    Concept("GRPO: one group and its advantages", "group", _CAFE),
    Concept("the KL penalty", "kl", _CAFE),
    Concept("best of n", "frontier", _CAFE),
    Concept(
        "tasks that a computer can check", "", f"{_CAFE} name=checked grpo.reward=verifier:cafe"
    ),
    Concept("people as judges: pairs, rankings, ratings", "", "palate label --project mine"),
)
ADAPTIVE = Concept(
    "adaptive KL",
    "kl",
    f"{_CAFE} name=adaptive ppo.kl.control=adaptive ppo.kl.target=1 ppo.kl.horizon=1000",
)
HARD = Concept(
    "KL as a hard constraint", "kl", f"{_CAFE} name=hard grpo.kl.control=hard grpo.kl.target=1"
)
HACKING = Concept(
    "reward hacking", "not-good-yet", f"{_CAFE} name=hacking ppo.kl.coef=0.001 ppo.steps=60"
)
NOT_IN_PALATE = (
    "an AI as judge that writes by a constitution (critique and revision)",
    "ensembles of reward models",
)


def seen(
    sections: Collection[str], controls: Collection[KlControl], rules: Collection[str]
) -> tuple[Concept, ...]:
    """Every idea with its place, given a page's sections, KL controls and fired rules."""
    used = {control.control for control in controls}
    here = [(c, c.section in sections) for c in CONCEPTS]
    here += [(ADAPTIVE, "adaptive" in used), (HARD, "hard" in used)]
    here += [(HACKING, "reward hacking" in rules)]
    return tuple(c if there else c._replace(section="") for c, there in here)
