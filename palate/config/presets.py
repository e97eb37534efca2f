"""Published methods as defaults: a preset lies over a stage's own, and keys of yours over both."""

from collections.abc import Iterator, Mapping
from typing import TypeVar, cast

from palate.config.base import Config

AnyConfig = TypeVar("AnyConfig", bound=Config)
Values = Mapping[str, object]

PRESETS: dict[str, dict[str, Values]] = {
    "grpo": {
        "default": {},
        # Shao 2024 (arXiv:2402.03300) eq. 3, 4 and section 4.2.
        "grpo": {
            "k": 64,
            "baseline": "group_mean",
            "scale": "group",
            "reduction": "sequence_mean",
            "kl": {"placement": "loss", "estimator": "k3", "coef": 0.04},
        },
        # Liu 2025 (arXiv:2503.20783) section 3.2.
        "dr_grpo": {"baseline": "group_mean", "kl": {"coef": 0.0}},
        # Yu 2025 (arXiv:2503.14476) sections 2.3, 3 and 4.1.
        "dapo": {
            "k": 16,
            "baseline": "group_mean",
            "scale": "group",
            "clip_high": 0.28,
            "reduction": "token_mean",
            "overlong_fraction": 0.2,
            "resample_rounds": 9,
            "minibatches": 16,
            "kl": {"coef": 0.0},
        },
        # Zheng 2025 (arXiv:2507.18071) eq. 5-7 and section 5.1.
        "gspo": {
            "baseline": "group_mean",
            "scale": "group",
            "ratio": "sequence",
            "clip_low": 3e-4,
            "clip_high": 4e-4,
            "reduction": "sequence_mean",
            "minibatches": 4,
            "kl": {"coef": 0.0},
        },
        # MiniMax 2025 (arXiv:2506.13585) eq. 4, 5; the bound of 5 is that of arXiv:2510.13786.
        "cispo": {
            "baseline": "group_mean",
            "scale": "group",
            "surrogate": "cispo",
            "clip_low": 1.0,
            "clip_high": 4.0,
            "reduction": "token_mean",
            "minibatches": 16,
            "kl": {"coef": 0.0},
        },
    },
    "reinforce": {
        "default": {},
        # Hu 2025 (arXiv:2501.03262), both variants.
        "reinforce++": {
            "k": 1,
            "baseline": "none",
            "whiten_advantages": True,
            "surrogate": "clipped",
            "reduction": "token_mean",
        },
        "reinforce++-baseline": {
            "baseline": "group_mean",
            "whiten_advantages": True,
            "surrogate": "clipped",
            "reduction": "token_mean",
            "kl": {"placement": "loss", "estimator": "k2"},
        },
    },
}
"""Stage -> preset -> what it sets, section by section."""


def with_preset(section: type[Config], values: object) -> object:
    """A section's values, with those that its preset sets and they leave out.

    Lists become the tuples that a strict section takes: what comes through here is no JSON to it.
    """
    if not isinstance(values, dict):
        return values
    given = cast("dict[str, object]", values)
    filled = {
        name: tuple(cast("list[object]", value)) if isinstance(value, list) else value
        for name, value in given.items()
    }
    for name, value in PRESETS[stage_of(section)].get(str(given.get("preset")), {}).items():
        below = section.model_fields[name].default
        section_values = isinstance(below, Config)
        whole = {**below.model_dump(), **cast("Values", value)} if section_values else value
        filled.setdefault(name, whole)
    return filled


def under_preset(default: AnyConfig, preset: object) -> AnyConfig:
    """A section's defaults under a preset; unchanged where there is no such preset."""
    section = type(default)
    if "preset" not in section.model_fields or preset not in PRESETS[stage_of(section)]:
        return default
    return section.model_validate({"preset": preset})


def leaves(values: Values, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted path, value) of everything that a preset sets."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(cast("Values", value), f"{prefix}{name}.")
        else:
            yield prefix + name, value


def stage_of(section: type[Config]) -> str:
    """The stage that a section configures."""
    return str(section.model_fields["stage"].default)
