"""Muon against AdamW: the held-out loss after the same updates, and what an update costs.

A Llama on the cafe's corpus is trained from the same weights on the same batches, by both
optimizers at two learning rates each. Every batch is read once before and the sides take turns at
going first, so that no side alone waits for kernels to be compiled.
"""

import argparse
import statistics
import time

from measure import machine
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import PreTrainedModel

from palate.batches.padding import response_mask
from palate.config.common import OptimizerConfig, PromptConfig
from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.forward import supports_tree
from palate.models.load import encoder_of, placed
from palate.models.precision import autocast, pick_device
from palate.models.roles import PlainPolicyRole
from palate.stages.pretrain import likelihood_loss, pieces
from palate.training.learner import LocalLearner
from palate.training.order import batch_indices
from palate.worlds.cafe import corpus

ARCHITECTURE = ArchitectureConfig(
    hidden_size=128, layers=4, heads=4, intermediate_size=512, context=256
)
BATCH_TOKENS, BLOCK, HELD_OUT = 1536, 128, 400
CPU = pick_device("cpu")
SIDES = [
    OptimizerConfig(name=name, lr=lr, weight_decay=0.1, schedule="cosine")
    for name in ("adamw", "muon")
    for lr in (3e-3, 7e-3)
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=400)
    updates = parser.parse_args().updates
    documents = corpus(7000, seed=0)
    tokenizer = train_tokenizer(documents, vocabulary=ARCHITECTURE.vocabulary, chat="palate")

    def born() -> PreTrainedModel:
        return placed(build_causal_lm(ARCHITECTURE, tokenizer, seed=0), CPU)

    def learner(config: OptimizerConfig) -> LocalLearner:
        network = born()
        role = PlainPolicyRole(
            network,
            layout=supports_tree(network).layout,
            temperature=1.0,
            scope=lambda: autocast(CPU, "auto"),
        )
        return LocalLearner(role, config, total_updates=updates, budget=4096)

    learners = [learner(config) for config in SIDES]
    encoder = encoder_of(born(), tokenizer, PromptConfig())
    rows, held = (
        [piece for text in texts for piece in pieces(encoder.encode_text(text), BLOCK)]
        for texts in (documents, corpus(HELD_OUT, seed=1))
    )
    batch = BATCH_TOKENS * len(rows) // sum(row.num_tokens for row in rows)
    loss_for = likelihood_loss(rows, "token_mean")
    seconds: list[list[float]] = [[] for _ in SIDES]
    for update in track(range(updates), description="updates"):
        indices = batch_indices(len(rows), update, batch=batch, run_seed=0)
        groups, loss = [rows[i] for i in indices], loss_for(indices)
        learners[0].outputs(groups)
        for turn in range(len(SIDES)):
            side = (update + turn) % len(SIDES)
            start = time.process_time()
            learners[side].update(groups, loss)
            seconds[side].append(time.process_time() - start)
    table = Table(title=f"{updates} updates of {batch} rows; {machine()}")
    for name in ("optimizer", "lr", "held-out nats per token", "CPU time of an update (quartiles)"):
        table.add_column(name)
    for config, one, took in zip(SIDES, learners, seconds, strict=True):
        nll = float(-one.outputs(held).logprobs.sum() / response_mask(held).sum())
        ratios = [mine / first for mine, first in zip(took, seconds[0], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cost = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        table.add_row(config.name, f"{config.lr:g}", f"{nll:.3f}", cost)
    Console().print(table)


if __name__ == "__main__":
    main()
