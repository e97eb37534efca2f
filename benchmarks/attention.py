"""Training with attention as matrix products against transformers' and torch's, on this CPU.

python benchmarks/attention.py: tokens per second of whole updates, fp32 and bf16, and their ratios
to eager attention and to the fused kernel.
"""

import os
import platform
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from palate.models.attention import PRODUCTS

ROWS, WIDTH, ROUNDS = 6, 208, 15


def network(kernel: str) -> LlamaForCausalLM:
    """A 1.2 million parameter Llama, the same weights for every kernel."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(kernel)
    return model


def update(model: LlamaForCausalLM, ids: torch.Tensor, precision: str) -> float:
    """One forward and backward pass; its loss."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    model.zero_grad(set_to_none=True)
    return loss.item()


def main() -> None:
    """Print one line per precision; the kernels take turns, so that drift hits both."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    ids = torch.randint(0, 1024, (ROWS, WIDTH), generator=torch.Generator().manual_seed(0))
    models = {kernel: network(kernel) for kernel in (PRODUCTS, "eager", "sdpa")}
    for precision in ("fp32", "bf16"):
        losses = [update(model, ids, precision) for model in models.values()]
        assert max(losses) - min(losses) < 0.02, losses
        seconds: dict[str, list[float]] = {kernel: [] for kernel in models}
        for _ in range(ROUNDS):
            for kernel, model in models.items():
                start = time.perf_counter()
                update(model, ids, precision)
                seconds[kernel].append(time.perf_counter() - start)
        ours = seconds[PRODUCTS]
        speed = ROWS * WIDTH / statistics.median(ours)
        print(f"{precision}: matrix products {speed:,.0f} tokens/s")
        for kernel in ("eager", "sdpa"):
            ratios = [theirs / own for own, theirs in zip(ours, seconds[kernel], strict=True)]
            print(
                f"  {statistics.median(ratios):.2f}x {kernel} "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
