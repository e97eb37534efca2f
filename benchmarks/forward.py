"""Group forward and backward against a plain padded transformers forward with full logits.

python benchmarks/forward.py: seconds of CPU time per batch and ratios; a ratio above 1 means that
the group forward is faster.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.models.forward import group_hidden, supports_tree, token_scores
from palate.models.layout import Layout, choose, plan

VOCABULARY = 1024


def llama() -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def random_groups(number: int, *, prompt: int, k: int, response: int) -> list[TokenGroup]:
    """Prompts of one length and responses of half to one and a half times another."""
    draw = torch.Generator().manual_seed(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(VOCABULARY, (length,), generator=draw).tolist())

    lengths = torch.randint(response // 2, response * 3 // 2 + 1, (number, k), generator=draw)
    return [
        token_group(str(i), ids(prompt), tuple(ids(length) for length in row))
        for i, row in enumerate(lengths.tolist())
    ]


def plain_logprobs(network: PreTrainedModel, groups: Sequence[TokenGroup]) -> Tensor:
    """As most trainers do it: one right-padded row per response, logits everywhere."""
    rows = [(*g.prompt, *r) for g in groups for r in g.responses]
    starts = torch.tensor([len(g.prompt) for g in groups for _ in g.responses])[:, None]
    ends = torch.tensor([len(row) for row in rows])[:, None]
    width = int(ends.max())
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    time_ = torch.arange(width)
    logits = network(input_ids=ids, attention_mask=(time_ < ends).long(), use_cache=False).logits
    logprobs = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    counts = (time_ >= starts) & (time_ < ends)
    return (logprobs * counts[:, 1:]).sum(1)


def group_logprobs(network: PreTrainedModel, groups: Sequence[TokenGroup]) -> Tensor:
    hidden = group_hidden(network, groups, layout="tree")
    return token_scores(network, hidden, temperature=1.0).logprobs.sum(1)


def seconds(step: Callable[[], object], repeats: int) -> float:
    """The quickest of some runs, in CPU time, which other programs disturb less than wall time."""
    step()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times)


def compare(network: PreTrainedModel, groups: list[TokenGroup], budget: int, repeats: int) -> None:
    """Print one line per precision."""
    layouts: tuple[Layout, Layout] = ("rows", "tree")
    rows, trees = (
        [[groups[i] for i in batch] for batch in plan(groups, budget=budget, layout=layout)]
        for layout in layouts
    )
    tokens = sum(len(response) for group in groups for response in group.responses)
    for precision in ("fp32", "bf16"):

        def run(score, batches, enabled=precision == "bf16") -> None:
            for batch in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    loss = score(network, batch).sum()
                loss.backward()
            network.zero_grad()

        plain = seconds(partial(run, plain_logprobs, rows), repeats)
        ours = seconds(partial(run, group_logprobs, trees), repeats)
        print(
            f"  {precision}: plain {plain:.3f} s, group {ours:.3f} s, ratio {plain / ours:.2f}; "
            f"{tokens / ours:,.0f} response tokens/s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--budget", type=int, default=8192, help="tokens per micro-batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = llama()
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters, {supports_tree(network)}")
    workloads = {
        "DPO: prompt 150, 2 responses of about 60": (16, 150, 2, 60),
        "GRPO: prompt 20, 8 responses of about 25": (32, 20, 8, 25),
        "GRPO: prompt 20, 8 responses of about 100": (8, 20, 8, 100),
        "SFT: prompt 20, 1 response of about 40": (64, 20, 1, 40),
    }
    for name, (number, prompt, k, response) in workloads.items():
        groups = random_groups(number, prompt=prompt, k=k, response=response)
        print(f"{name} ({choose(groups, layout='tree')})")
        compare(network, groups, options.budget, options.repeats)


if __name__ == "__main__":
    main()
