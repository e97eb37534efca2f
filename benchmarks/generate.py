"""Rollout generation against `network.generate` of transformers: tokens per second of CPU time.

Same model, prompts, temperature and limit. The model ends a response with probability 1/25 at every
token, as trained policies do and random weights do not. Both sides are checked to sample from the
same distribution by mean length and mean log-probability of what they write.
"""

import argparse
from functools import partial

import torch
from measure import machine, paired, peak_mebibytes
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from palate.batches.groups import token_group
from palate.interfaces import TokenPrompt
from palate.models.forward import group_hidden, token_scores
from palate.models.generate import Generator
from palate.models.load import placed

VOCABULARY, PAD, BOS, EOS = 1024, 0, 1, 2


class EndingHead(nn.Module):
    """An output projection whose end-of-sequence probability is 1/length at every token."""

    def __init__(self, head: nn.Module, length: float) -> None:
        super().__init__()
        self.head, self.odds = head, 1 / (length - 1)

    def forward(self, states: Tensor) -> Tensor:
        logits = self.head(states)
        logits[..., [PAD, EOS]] = -torch.inf
        logits[..., EOS] = logits.logsumexp(-1) + torch.tensor(self.odds).log()
        return logits


def llama(length: float) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    torch.manual_seed(0)
    network = placed(LlamaForCausalLM(config), "cpu")
    network.lm_head = EndingHead(network.lm_head, length)
    return network


def random_prompts(number: int) -> list[TokenPrompt]:
    """Prompts of 14 to 26 tokens."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(14, 27, (number,), generator=draw).tolist()
    return [
        TokenPrompt(
            id=str(i),
            ids=(BOS, *torch.randint(3, VOCABULARY, (length - 1,), generator=draw).tolist()),
        )
        for i, length in enumerate(lengths)
    ]


def plain_responses(
    network: PreTrainedModel, prompts: list[TokenPrompt], *, k: int, max_tokens: int
) -> list[tuple[int, ...]]:
    """Responses from transformers' own generation, prompt by prompt."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = torch.tensor([[*[PAD] * (width - len(p.ids)), *p.ids] for p in prompts])
    with torch.inference_mode():
        out = network.generate(
            ids,
            attention_mask=(ids != PAD).long(),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=k,
            max_new_tokens=max_tokens,
        )
    return [tuple(token for token in row if token != PAD) for row in out[:, width:].tolist()]


def our_responses(
    generator: Generator, prompts: list[TokenPrompt], *, k: int, max_tokens: int, rows: int
) -> list[tuple[int, ...]]:
    """Responses from palate's generation, prompt by prompt."""
    rollouts = generator.generate(
        prompts, k, temperature=1.0, top_p=1.0, max_tokens=max_tokens, rows=rows, seed=0
    )
    return [rollout.tokens for own in rollouts for rollout in own]


def check(
    network: PreTrainedModel,
    prompts: list[TokenPrompt],
    k: int,
    theirs: list[tuple[int, ...]],
    ours: list[tuple[int, ...]],
) -> None:
    """Stop unless mean length and mean log-probability agree to five standard errors."""

    def moments(responses: list[tuple[int, ...]]) -> Tensor:
        groups = [
            token_group(prompt.id, prompt.ids, tuple(responses[i * k : i * k + k]))
            for i, prompt in enumerate(prompts)
        ]
        with torch.no_grad():
            hidden = group_hidden(network, groups, layout="tree")
            logprobs = token_scores(network, hidden, temperature=1.0).logprobs.sum(1)
        return torch.stack([hidden.mask.sum(1).double(), logprobs.double()], 1)

    one, two = moments(theirs), moments(ours)
    error = (one.var(0) / len(one) + two.var(0) / len(two)).sqrt()
    assert ((one.mean(0) - two.mean(0)).abs() < 5 * error).all(), "the two sides sample differently"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, prompts = llama(25.0), random_prompts(options.prompts)
    generator = Generator(network, eos_ids=[EOS], pad_id=PAD)
    asked = {"k": options.k, "max_tokens": options.max_tokens}
    theirs = partial(plain_responses, network, prompts, **asked)
    print(machine())
    print(f"{options.prompts} prompts, {options.k} responses each; transformers against palate")
    for rows in (32, 128, 256, 512):
        ours = partial(our_responses, generator, prompts, rows=rows, **asked)
        check(network, prompts, options.k, theirs(), ours())
        speed = paired(
            lambda: tokens(theirs()), lambda ours=ours: tokens(ours()), repeats=options.repeats
        )
        print(
            f"  {rows} rows at once: {speed}; "
            f"peak {peak_mebibytes(theirs):.0f} against {peak_mebibytes(ours):.0f} MiB"
        )


def tokens(responses: list[tuple[int, ...]]) -> int:
    return sum(map(len, responses))


if __name__ == "__main__":
    main()
