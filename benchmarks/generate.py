"""Rollout generation against `network.generate` of transformers, same model, prompts and settings.

python benchmarks/generate.py: sampled tokens per second of CPU time and their ratio. The model ends
a response with probability 1/25 at every token, as trained policies do, not at random weights'.
"""

import argparse
import time

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from palate.interfaces import TokenPrompt
from palate.models.generate import Generator

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
    network = LlamaForCausalLM(config).eval()
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


def theirs(network: PreTrainedModel, prompts: list[TokenPrompt], k: int, max_tokens: int) -> int:
    """Tokens written by transformers' own generation."""
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
    return int((out[:, width:] != PAD).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, prompts = llama(25.0), random_prompts(options.prompts)
    generator = Generator(network, eos_ids=[EOS], pad_id=PAD)

    def ours(rows: int) -> int:
        rollouts = generator.generate(
            prompts,
            options.k,
            temperature=1.0,
            top_p=1.0,
            max_tokens=options.max_tokens,
            rows=rows,
            seed=0,
        )
        return sum(len(r.tokens) for own in rollouts for r in own)

    def rate(write, *arguments) -> float:
        """The best tokens per second of some runs, in CPU time."""
        rates = []
        for _ in range(options.repeats):
            start = time.process_time()
            rates.append(write(*arguments) / (time.process_time() - start))
        return max(rates)

    base = rate(theirs, network, prompts, options.k, options.max_tokens)
    print(f"transformers generate: {base:,.0f} tokens/s")
    for rows in (32, 128, 256, 512):
        own = rate(ours, rows)
        print(f"palate, {rows:4d} rows at once: {own:,.0f} tokens/s, ratio {own / base:.2f}")


if __name__ == "__main__":
    main()
