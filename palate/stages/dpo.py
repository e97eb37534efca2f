"""`dpo`: direct preference optimization and its family."""

from collections.abc import Sequence

import torch

from palate.algorithms import dpo
from palate.batches.groups import TokenGroup, token_group
from palate.batches.padding import fitted, response_mask, response_rows
from palate.batches.pairs import pairs_of
from palate.config.stages import DpoConfig
from palate.interfaces import Loss, LossOf, Outputs
from palate.maths.reductions import masked_sum
from palate.models.load import save_policy
from palate.models.roles import Role
from palate.records import Group, PreferenceGroup, Unpaired
from palate.stages import sources
from palate.stages.context import HELD_OUT, MODEL, PREFERENCES, StageContext
from palate.stages.encoding import Encoded, Part, encoded, labelled, preferred
from palate.stages.loads import announce, fixed_memory, outline_of
from palate.stages.policies import OpenPolicy, open_policy, with_reference
from palate.stages.training import last_value, train
from palate.store.errors import DataError
from palate.training.examples import Examples
from palate.training.learner import read_all


def run(config: DpoConfig, context: StageContext) -> dict[str, float]:
    """Reference log-probabilities once, then the loop; the policy is saved."""
    policy = open_policy(
        context,
        config.model,
        prompt=config.prompt,
        compute=config.compute,
    )
    outline = outline_of(policy.network)
    policy, reference = with_reference(policy, config.lora, temperature=1.0, run_seed=context.seed)
    read = _kto if config.loss == "kto" else _paired
    examples, held = read(config, context, policy, reference)
    announce(context, config, fixed_memory(config, outline, examples.groups))
    del reference  # only KTO's loss asks it again, and keeps it
    trained = train(
        config, context, policy.plain_role(), examples, batch=config.batch_groups, held=held
    )
    save_policy(
        policy.network,
        policy.tokenizer,
        context.folder.path / MODEL,
        prompt_format=config.prompt.format,
    )
    rows, accuracy = float(len(examples.groups)), last_value(context, "dpo/accuracy")
    return {"rows": rows, "accuracy": accuracy} | trained.summary


def reference_sums(reference: Role, tokens: Sequence[TokenGroup], budget: int) -> torch.Tensor:
    """[response] log pi_ref(response | prompt) summed over counted tokens, nats."""
    if not tokens:
        return torch.zeros(0)
    outputs = read_all(reference, tokens, budget=budget)
    mask = fitted(response_mask(tokens), outputs.logprobs.shape[1]).to(outputs.logprobs.device)
    return masked_sum(outputs.logprobs, mask)


def _paired(
    config: DpoConfig, context: StageContext, policy: OpenPolicy, reference: Role
) -> tuple[Examples, Examples]:
    """The judged groups to train on, and those that are held out."""
    judged, held = sources.preferences(
        context, config.data, held_out_fraction=config.held_out_fraction
    )

    def examples(rows: Sequence[PreferenceGroup], part: Part, *files: str) -> Examples:
        learned = encoded(
            context,
            [judged_only(row) for row in rows[: config.limit or None]],
            preferred,
            policy.encoder,
            max_response_tokens=config.max_response_tokens,
            source=context.data(config.data, *files),
            part=part,
        )
        return _compared(config, learned.rows, learned.tokens, reference)

    return (
        examples(judged, "training", PREFERENCES),
        examples(held, "held_out", HELD_OUT, PREFERENCES),
    )


def _compared(
    config: DpoConfig,
    rows: Sequence[PreferenceGroup],
    tokens: Sequence[TokenGroup],
    reference: Role,
) -> Examples:
    """Preferences with their loss against the reference."""
    sums = reference_sums(reference, tokens, config.compute.micro_batch_tokens)

    def loss_for(batch: Sequence[int]) -> LossOf:
        def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            chosen = [batch[i] for i in indices]
            mask = response_mask([tokens[i] for i in chosen]).to(outputs.logprobs.device)
            pairs = pairs_of([rows[i] for i in chosen], mask.device)
            return dpo.loss(outputs, mask, sums[response_rows(tokens, chosen)], pairs, config)

        return loss

    return Examples(tokens, loss_for)


def judged_only(row: PreferenceGroup) -> PreferenceGroup:
    """The same preferences over only the responses that they name: the others cost a forward."""
    used = sorted({i for p in row.preferences for i in (p.winner, p.loser)})
    place = {old: new for new, old in enumerate(used)}
    group = Group(prompt=row.group.prompt, responses=tuple(row.group.responses[i] for i in used))
    preferences = tuple(
        p.model_copy(update={"winner": place[p.winner], "loser": place[p.loser]})
        for p in row.preferences
    )
    return PreferenceGroup(group=group, preferences=preferences)


def _kto(
    config: DpoConfig, context: StageContext, policy: OpenPolicy, reference: Role
) -> tuple[Examples, Examples]:
    """The labelled responses to train on, and those that are held out."""
    responses, held = sources.unpaired(
        context, config.data, held_out_fraction=config.held_out_fraction
    )
    if config.batch_groups < 2:
        raise DataError(
            source="batch_groups",
            problem="KTO estimates a KL from mismatched rows of a batch and needs at least two",
            remedy="set batch_groups to 2 or more",
        )

    def examples(rows: Sequence[Unpaired], part: Part, *files: str) -> Examples:
        learned = encoded(
            context,
            rows[: config.limit or None],
            labelled,
            policy.encoder,
            max_response_tokens=config.max_response_tokens,
            source=context.data(config.data, *files),
            part=part,
        )
        return _labelled(config, policy, reference, learned)

    return (
        examples(responses, "training", PREFERENCES),
        examples(held, "held_out", HELD_OUT, PREFERENCES),
    )


def _labelled(
    config: DpoConfig, policy: OpenPolicy, reference: Role, learned: Encoded[Unpaired]
) -> Examples:
    """Labelled responses with KTO's loss against the reference."""
    rows, tokens = learned.rows, learned.tokens
    desirable = torch.tensor([row.desirable for row in rows], device=policy.device)
    budget = config.compute.micro_batch_tokens
    sums = reference_sums(reference, tokens, budget)
    role = policy.plain_role()

    def loss_for(batch: Sequence[int]) -> LossOf:
        shifted = mismatched([tokens[i] for i in batch])
        gain = reference_sums(role, shifted, budget) - reference_sums(reference, shifted, budget)
        kl = max(0.0, float(gain.double().mean()))

        def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            chosen = [batch[i] for i in indices]
            mask = response_mask([tokens[i] for i in chosen]).to(outputs.logprobs.device)
            good = desirable[chosen]
            return dpo.kto_loss(outputs, mask, sums[chosen], good, config, kl=kl)

        return loss

    return Examples(tokens, loss_for)


def mismatched(batch: Sequence[TokenGroup]) -> list[TokenGroup]:
    """Each prompt with the response of the next row (Ethayarajh 2024, section 4.1)."""
    return [
        token_group(own.id, own.prompt, other.responses)
        for own, other in zip(batch, (*batch[1:], batch[0]), strict=True)
    ]
