"""GGUF files: one file with weights (most often quantized), configuration, tokenizer and template.

transformers reads them; here is what it needs to be told, and how text was split for a tokenizer,
which for many files it does not rebuild.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, cast

from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase, TokenizersBackend

from palate.models.names import GGUF
from palate.store.errors import DataError

NEEDED = "pip install gguf 'transformers>=5.23'"

_AS_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4"}
_SINGLE_DIGITS = {
    "codeshell",
    "command-r",
    "exaone",
    "minerva-7b",
    "refact",
    "smollm",
    "starcoder",
}
"""Rules of llama.cpp (`tokenizer.ggml.pre`): GPT-2's, and GPT-2's after every digit is split off.

transformers has a table for others, and takes GPT-2's rule for whatever is not in it.
"""


class Place(NamedTuple):
    """What `from_pretrained` is given to find a model: a name, and keywords beside it."""

    name: str
    keywords: dict[str, Any]


@contextmanager
def place_of(source: str) -> Iterator[Place]:
    """Where transformers finds a model that `resolved` has found.

    A GGUF file is read from an empty folder, so that no other file beside it (a configuration, an
    adapter, a tokenizer) takes part.
    """
    if not source.endswith(GGUF):
        yield Place(source, {})
        return
    with tempfile.TemporaryDirectory() as empty:
        yield Place(empty, {"gguf_file": str(Path(source).absolute())})


@contextmanager
def dequantized() -> Iterator[dict[str, Any]]:
    """Keywords for the weights of a GGUF file: as plain numbers, which can be trained and saved.

    The loader of transformers shows its progress even where it was told not to.
    """
    from transformers import GgufConfig

    with redirect_stderr(StringIO()):
        yield {"quantization_config": GgufConfig(dequantize=True)}


def as_in_file(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Let the tokenizer of a GGUF file have the file's tokens and split text by the file's rule.

    transformers adds GPT-2's `<|endoftext|>` to every vocabulary that has none, with an id beyond
    the embeddings. A rule that is unknown is refused.
    """
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.integrations.gguf.reader import read_gguf_metadata

    metadata, _ = read_gguf_metadata(source, ("tokenizer.ggml.tokens",))
    rule = metadata.get("tokenizer.ggml.pre", "gpt-2")
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        return
    backend = cast("TokenizersBackend", tokenizer)
    plain = json.loads(backend.backend_tokenizer.to_str())
    known = len(metadata["tokenizer.ggml.tokens"])
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["id"] < known]
    backend._tokenizer = Tokenizer.from_str(json.dumps(plain))
    if rule in _SINGLE_DIGITS:
        backend.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
        )
    elif rule not in _AS_GPT2 | set(GGUF_PRE_TOKENIZER_SPLITS):
        raise DataError(
            f"its tokenizer splits text by the rule {rule!r}, which palate does not know",
            source=source,
            remedy="give the model's original folder or Hub name",
        )
