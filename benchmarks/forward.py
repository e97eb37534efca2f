"""Forward and backward over groups against a plain padded forward of transformers.

Both sides score the same responses in micro-batches of the same token budget and backpropagate the
same loss. The plain side has one right-padded row per response and keeps the logits of all tokens.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from measure import machine, paired, peak_mebibytes
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.models.forward import group_hidden, token_scores
from palate.models.layout import Layout, choose, plan
from palate.models.load import placed

VOCABULARY = 1024
Score = Callable[[PreTrainedModel, Sequence[TokenGroup]], Tensor]


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
    return placed(LlamaForCausalLM(config), "cpu")


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
    """Log-probability of each response, as most trainers compute it."""
    rows = [(*g.prompt, *r) for g in groups for r in g.responses]
    starts = torch.tensor([len(g.prompt) for g in groups for _ in g.responses])[:, None]
    ends = torch.tensor([len(row) for row in rows])[:, None]
    columns = torch.arange(int(ends.max()))
    ids = torch.tensor([[*row, *[0] * (len(columns) - len(row))] for row in rows])
    mask = (columns < ends).long()
    logits = network(input_ids=ids, attention_mask=mask, use_cache=False).logits
    logprobs = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (logprobs * ((columns >= starts) & (columns < ends))[:, 1:]).sum(1)


def group_logprobs(network: PreTrainedModel, groups: Sequence[TokenGroup]) -> Tensor:
    """Log-probability of each response, as palate computes it."""
    hidden = group_hidden(network, groups, layout="tree")
    return token_scores(network, hidden, temperature=1.0).logprobs.sum(1)


def train(
    network: PreTrainedModel, score: Score, batches: list[list[TokenGroup]], *, bf16: bool
) -> int:
    """Gradients of a loss over micro-batches; returns the response tokens."""
    network.zero_grad()
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = score(network, batch).tanh().sum()
        loss.backward()
    return sum(len(r) for batch in batches for group in batch for r in group.responses)


def check(network: PreTrainedModel, groups: Sequence[TokenGroup]) -> None:
    """Stop unless both sides give the same log-probabilities."""
    with torch.no_grad():
        plain, ours = plain_logprobs(network, groups), group_logprobs(network, groups)
    torch.testing.assert_close(ours, plain, atol=1e-3, rtol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--budget", type=int, default=8192, help="tokens per micro-batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = llama()
    print(machine())
    print(
        f"Llama, {sum(p.numel() for p in network.parameters()):,} parameters; plain against palate"
    )
    workloads = {
        "DPO: prompt 150, 2 responses of about 60": (16, 150, 2, 60),
        "GRPO: prompt 20, 8 responses of about 25": (32, 20, 8, 25),
        "GRPO: prompt 20, 8 responses of about 100": (8, 20, 8, 100),
        "SFT: prompt 20, 1 response of about 40": (64, 20, 1, 40),
        "pretraining: documents of about 80": (64, 1, 1, 80),
    }
    for name, (number, prompt, k, response) in workloads.items():
        groups = random_groups(number, prompt=prompt, k=k, response=response)
        check(network, groups)
        layouts: tuple[Layout, Layout] = ("rows", "tree")
        rows, trees = (
            [
                [groups[i] for i in batch]
                for batch in plan(groups, budget=options.budget, layout=kind)
            ]
            for kind in layouts
        )
        print(f"{name} (as {choose(groups, layout='tree')})")
        for bf16 in (False, True):
            plain = partial(train, network, plain_logprobs, rows, bf16=bf16)
            ours = partial(train, network, group_logprobs, trees, bf16=bf16)
            print(
                f"  {'bf16' if bf16 else 'fp32'}: {paired(plain, ours, repeats=options.repeats)}; "
                f"peak {peak_mebibytes(plain):.0f} against {peak_mebibytes(ours):.0f} MiB"
            )


if __name__ == "__main__":
    main()
