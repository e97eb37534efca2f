"""Does a response say who wrote it? Then a blind comparison is no longer blind."""

import re
from collections.abc import Iterable

_MAKERS = (
    "OpenAI|Anthropic|Google|DeepMind|Meta AI|Mistral|Cohere|DeepSeek|Alibaba|Microsoft|xAI"
    "|Moonshot"
)
_MODELS = (
    r"Chat ?GPT|GPT-?\d\w*|Claude|Gemini|Bard|Llama(?:[ -]?\d)?|Mi[sx]tral|Qwen|DeepSeek|Grok|Kimi|"
    "Vicuna|Alpaca|Command R|Gemma|Phi-\\d"
)
_LEAK = re.compile(
    rf"\b(?:I am|I'm|my name is|call me|this is|as) (?:an? )?(?:{_MODELS})\b"
    rf"|\b(?:trained|developed|created|made|built) by (?:{_MAKERS})\b"
    rf"|\b(?:{_MAKERS})(?:'s)? (?:language |AI )?(?:model|assistant)\b",
    re.IGNORECASE,
)


def names_its_author(text: str, policies: Iterable[str]) -> bool:
    """Whether a response names a known model or maker as its own, or a policy of its group.

    >>> names_its_author("As ChatGPT, I cannot know.", ()), names_its_author("Ask Claude.", ())
    (True, False)
    """
    if _LEAK.search(text):
        return True
    names = [re.escape(name) for name in policies if len(name) > 3 and not name.isalpha()]
    return bool(names) and re.search("|".join(names), text) is not None
