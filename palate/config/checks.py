"""Names of the checks, apart from them: a misspelt one is refused before torch is imported."""

from collections.abc import Sequence
from difflib import get_close_matches

NAMES = [
    "rloo",
    "rloo-constant-lr",
    "grpo",
    "dr-grpo",
    "ppo",
    "ppo-whitened",
    "reinforce",
    "reinforce++",
    "gspo",
    "cispo",
    "online-dpo",
    "reference-ema",
    "dapo",
    "overlong",
    "missing-eos",
    "kl-loss-k1",
    "kl-loss-k2",
    "kl-loss-k3",
    "kl-loss-k1-cumulative",
    "kl-loss-k3-cumulative",
    "grpo-published",
    "reinforce++-baseline",
    "grpo-deviation",
    "kl-hard",
    "kl-adaptive",
    "dpo",
    "dpo-votes",
    "reward-then-rloo",
    "rdpo",
    "dpo-flipped",
    "cdpo",
    "dpo-margin",
    "ipo",
    "dpo-sft",
    "hinge",
    "simpo",
    "orpo",
    "sft",
    "sft-sequence-mean",
    "reward",
    "reward-smoothed",
    "best-of-n",
    "expert-iteration",
    "llama-normalized",
    "gpt2-normalized",
    "llama-sampled",
    "gpt2-sampled",
    "kl-hard-tight",
    "grpo-self-inclusive",
    "llama-sampled-more",
    "llama-rloo",
    "llama-ppo",
    "llama-dpo",
    "llama-sft",
    "llama-reward",
    "gpt2-sampled-more",
    "gpt2-rloo",
    "gpt2-ppo",
    "gpt2-dpo",
    "gpt2-sft",
    "gpt2-reward",
]


def check_known(names: Sequence[str]) -> None:
    """Refuse names of no check, with the nearest ones."""
    for name in names:
        if name not in NAMES:
            close = get_close_matches(name, NAMES, n=3, cutoff=0.0)
            raise ValueError(
                f"{name}: no such check; did you mean {', '.join(close[:-1])} or {close[-1]}? "
                "(docs/verify.md has all)"
            )
