"""Groups as token ids, before any tensor: what collation and the forward pass take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGroup:
    """One prompt and its k responses as token ids.

    `responses[i]` holds the tokens after the prompt, the end-of-sequence token included when it was
    written. `masks[i][t]` is True where token t of response i counts (a token the policy chose); in
    multi-turn demonstrations the turns of others are False. `id` names the prompt: it groups
    advantages and splits, and seeds sampling.

    >>> TokenGroup(id="p", prompt=(1, 5), responses=((7, 2),), masks=((True, True),)).num_tokens
    4
    """

    id: str
    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    masks: tuple[tuple[bool, ...], ...]

    def __post_init__(self) -> None:
        assert self.prompt, "a prompt has at least one token (a BOS, say)"
        assert len(self.responses) == len(self.masks)
        assert all(len(r) == len(m) for r, m in zip(self.responses, self.masks, strict=True))

    @property
    def k(self) -> int:
        """The number of responses."""
        return len(self.responses)

    @property
    def num_tokens(self) -> int:
        """Tokens when the prompt is laid out once: prompt plus all responses."""
        return len(self.prompt) + sum(map(len, self.responses))


def token_group(
    id: str, prompt: tuple[int, ...], responses: tuple[tuple[int, ...], ...]
) -> TokenGroup:
    """A group in which every response token counts."""
    masks = tuple((True,) * len(response) for response in responses)
    return TokenGroup(id=id, prompt=prompt, responses=responses, masks=masks)
