"""`reward`: a Bradley-Terry reward model on judged groups, centered and measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from palate.algorithms import reward
from palate.batches.groups import TokenGroup
from palate.batches.pairs import pairs_of
from palate.config.stages import RewardConfig
from palate.evaluation.results import RewardModelResult, RowResult
from palate.evaluation.rewards import judge_reward_model
from palate.interfaces import Loss, LossOf, Outputs
from palate.maths.seeds import seed
from palate.models.adapters import add_adapter
from palate.models.forward import supports_tree
from palate.models.precision import autocast
from palate.models.reward_model import reward_from_policy, save_reward
from palate.models.roles import RewardRole
from palate.models.tokens import Encoder
from palate.records import PreferenceGroup
from palate.stages import sources
from palate.stages.context import HELD_OUT, MODEL, PREFERENCES, StageContext
from palate.stages.encoding import Encoded, Part, encoded, preferred
from palate.stages.loads import announce, fixed_memory, outline_of
from palate.stages.policies import REWARD, open_policy
from palate.stages.training import train
from palate.training.examples import Examples, LossFor
from palate.training.learner import read_all

Judged = Encoded[PreferenceGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A fresh reward model, and what is kept of the policy that it starts from.

    `outline` is that policy without its weights.
    """

    network: PreTrainedModel
    outline: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder


def start(config: RewardConfig, context: StageContext) -> Start:
    """The policy's backbone with a new head and perhaps an adapter; the policy itself is let go."""
    policy = open_policy(
        context,
        config.model,
        prompt=config.prompt,
        compute=config.compute,
    )
    outline = outline_of(policy.network)
    network = reward_from_policy(policy.network, seed=seed(context.seed, "head"))
    if config.lora.rank:
        add_adapter(network, config.lora, name=REWARD, seed=seed(context.seed, "adapter"))
    return Start(
        network=network, outline=outline, tokenizer=policy.tokenizer, encoder=policy.encoder
    )


def run(config: RewardConfig, context: StageContext) -> dict[str, float]:
    """Train on preferences, centre on the judged responses, save, measure on held-out prompts."""
    begun = start(config, context)
    judged, further, held = gathered(config, context, begun.encoder)
    rows, tokens = judged.rows + further.rows, judged.tokens + further.tokens
    announce(context, config, fixed_memory(config, begun.outline, tokens))
    role = RewardRole(
        begun.network,
        layout=supports_tree(begun.network).layout,
        prefixes=config.prefix_coef > 0,
        scope=partial(autocast, begun.network.device, config.compute.precision),
    )
    learner, summary = train(
        config,
        context,
        role,
        Examples(tokens, preference_loss(rows, tokens, config)),
        batch=config.batch_groups,
        held=Examples(held.tokens, preference_loss(held.rows, held.tokens, config)),
    )
    center = float(learner.outputs(judged.tokens).scores.double().mean())
    save_reward(begun.network, begun.tokenizer, context.folder.path / MODEL, center)
    summary = {"rows": float(len(rows)), "center": center} | summary
    return summary | held_out_measures(context, role, held, config)


def gathered(
    config: RewardConfig, context: StageContext, encoder: Encoder
) -> tuple[Judged, Judged, Judged]:
    """The judged groups to train on, those of `auxiliary_data`, and those that are held out."""
    judged, held = sources.preferences(
        context, config.data, held_out_fraction=config.held_out_fraction
    )
    further = sources.auxiliary_preferences(context, config.auxiliary_data, held=held)

    def read(
        rows: Sequence[PreferenceGroup],
        *files: str,
        data: str = config.data,
        part: Part = "training",
    ) -> Judged:
        return encoded(
            context,
            rows[: config.limit or None],
            preferred,
            encoder,
            max_response_tokens=config.max_response_tokens,
            source=context.data(data, *files),
            part=part,
        )

    return (
        read(judged, PREFERENCES),
        read(further, PREFERENCES, data=config.auxiliary_data),
        read(held, HELD_OUT, PREFERENCES, part="held_out"),
    )


def preference_loss(
    rows: Sequence[PreferenceGroup], tokens: Sequence[TokenGroup], config: RewardConfig
) -> LossFor:
    """The Bradley-Terry loss of a batch of these rows, which have these tokens."""

    def loss_for(batch: Sequence[int]) -> LossOf:
        def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            device = outputs.scores.device
            pairs = pairs_of([rows[batch[i]] for i in indices], device)
            counts = [len(one) for i in indices for one in tokens[batch[i]].responses]
            return reward.loss(outputs, pairs, config, torch.tensor(counts, device=device))

        return loss

    return loss_for


def held_out_measures(
    context: StageContext, role: RewardRole, held: Judged, config: RewardConfig
) -> dict[str, float]:
    """Accuracy, length ruler and calibration on held-out prompts; empty with too few of them."""
    if not measurable(held.rows):
        return {}
    tokens = held.tokens
    outputs = read_all(role, tokens, budget=config.compute.micro_batch_tokens)
    flat = iter(outputs.scores.tolist())
    scores = [tuple(next(flat) for _ in range(group.k)) for group in tokens]
    lengths = [tuple(map(len, group.responses)) for group in tokens]
    result = measured(held.rows, scores, lengths, seed=context.seed)
    context.folder.write_json("held_out.json", result.model_dump(mode="json"))
    return {
        "held_out/accuracy": result.accuracy.estimate,
        "held_out/accuracy_low": result.accuracy.low,
        "held_out/accuracy_high": result.accuracy.high,
        "held_out/length_ruler": result.length_ruler_accuracy,
        "held_out/ece": result.ece,
        "held_out/ece_null_p95": result.ece_null_p95,
        "held_out/pairs": float(result.n_pairs),
    }


def measurable(rows: Sequence[PreferenceGroup]) -> bool:
    """Whether an interval over prompts can be had: two have a decided preference."""
    decided = (row for row in rows if any(p.probability > 0.5 for p in row.preferences))
    return len({sources.cluster_of(row.group) for row in decided}) > 1


def measured(
    rows: Sequence[PreferenceGroup],
    scores: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    *,
    seed: int,
    bayes_accuracy: float | None = None,
    probe: tuple[RowResult, ...] = (),
) -> RewardModelResult:
    """What scores (per group, per response) say about the decided preferences of these rows."""
    decided = [
        (index, sources.cluster_of(row.group), p)
        for index, row in enumerate(rows)
        for p in row.preferences
        if p.probability > 0.5
    ]
    return judge_reward_model(
        [scores[i][p.winner] for i, _, p in decided],
        [scores[i][p.loser] for i, _, p in decided],
        [id for _, id, _ in decided],
        chosen_lengths=[lengths[i][p.winner] for i, _, p in decided],
        rejected_lengths=[lengths[i][p.loser] for i, _, p in decided],
        seed=seed,
        bayes_accuracy=bayes_accuracy,
        probe=probe,
    )
