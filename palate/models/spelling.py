"""What transformers before 5 reads in config.json where later releases write another key."""

from transformers import PreTrainedConfig

_PLAIN = {"rope_theta", "partial_rotary_factor"}


def older_keys(config: PreTrainedConfig) -> dict[str, object]:
    """The keys and values of rotary positions as they were spelled before `rope_parameters`.

    Readers that do not know that key take a base of 10,000 in its place, without a word.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {kind: part for kind, part in rope.items() if isinstance(part, dict)}
    local = kinds.get("sliding_attention")
    if kinds:
        rope = kinds.get("full_attention", {})
    keys: dict[str, object] = {key: rope[key] for key in sorted(_PLAIN & set(rope))}
    if local and config.model_type.startswith("gemma3"):
        keys["rope_local_base_freq"] = local["rope_theta"]
    if config.model_type == "gpt_neox":
        keys = {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope["partial_rotary_factor"]}
    kind = rope.get("rope_type", "default")
    if kind == "longrope":  # Phi-3 took these three and no others
        own = {key: rope[key] for key in ("short_factor", "long_factor")}
        keys["rope_scaling"] = {"type": kind, **own}
    elif kind != "default":
        keys["rope_scaling"] = {key: value for key, value in rope.items() if key not in _PLAIN}
    return keys
