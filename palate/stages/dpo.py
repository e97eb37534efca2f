"""`dpo`: direct preference optimization and its family."""

from collections.abc import Sequence
from dataclasses import dataclass

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
from palate.records import Group, PreferenceGroup
from palate.stages import sources
from palate.stages.context import MODEL, PREFERENCES, StageContext
from palate.stages.encoding import encoded, labelled, preferred
from palate.stages.loads import announce, fixed_memory, outline_of
from palate.stages.policies import OpenPolicy, open_policy, with_reference
from palate.store.errors import DataError
from palate.training.checkpoints import Checkpoints
from palate.training.fit import LossFor, fit
from palate.training.learner import LocalLearner, read_all
from palate.training.order import num_updates


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Encoded rows and their loss."""

    tokens: list[TokenGroup]
    loss: LossFor


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
    budget = config.compute.micro_batch_tokens
    job = (_kto if config.loss == "kto" else _paired)(config, context, policy, reference)
    announce(context, config, fixed_memory(config, outline, job.tokens))
    del reference  # only KTO's loss asks it again, and keeps it
    learner = LocalLearner(
        policy.plain_role(),
        config.optimizer,
        total_updates=num_updates(len(job.tokens), batch=config.batch_groups, epochs=config.epochs),
        budget=budget,
    )
    fit(
        learner,
        job.tokens,
        job.loss,
        batch=config.batch_groups,
        run_seed=context.seed,
        monitor=context.monitor,
        checkpoints=Checkpoints(context.folder.folder("checkpoints"), every=50),
    )
    save_policy(
        policy.network,
        policy.tokenizer,
        context.folder.path / MODEL,
        prompt_format=config.prompt.format,
    )
    last = context.folder.metrics()[-1]
    return {"rows": float(len(job.tokens)), "accuracy": last["dpo/accuracy"]}


def reference_sums(reference: Role, tokens: Sequence[TokenGroup], budget: int) -> torch.Tensor:
    """[response] log pi_ref(response | prompt) summed over counted tokens, nats."""
    outputs = read_all(reference, tokens, budget=budget)
    mask = fitted(response_mask(tokens), outputs.logprobs.shape[1]).to(outputs.logprobs.device)
    return masked_sum(outputs.logprobs, mask)


def _paired(config: DpoConfig, context: StageContext, policy: OpenPolicy, reference: Role) -> Job:
    train, _ = sources.preferences(context, config.data, held_out_fraction=config.held_out_fraction)
    judged = [judged_only(row) for row in train]
    learned = encoded(
        context,
        judged,
        preferred,
        policy.encoder,
        max_response_tokens=config.max_response_tokens,
        source=context.data(config.data, PREFERENCES),
    )
    rows, tokens = learned.rows, learned.tokens
    sums = reference_sums(reference, tokens, config.compute.micro_batch_tokens)

    def loss_for(batch: Sequence[int]) -> LossOf:
        def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            chosen = [batch[i] for i in indices]
            mask = response_mask([tokens[i] for i in chosen]).to(outputs.logprobs.device)
            pairs = pairs_of([rows[i] for i in chosen], mask.device)
            return dpo.loss(outputs, mask, sums[response_rows(tokens, chosen)], pairs, config)

        return loss

    return Job(tokens=tokens, loss=loss_for)


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


def _kto(config: DpoConfig, context: StageContext, policy: OpenPolicy, reference: Role) -> Job:
    responses = sources.unpaired(context, config.data)
    if config.batch_groups < 2:
        raise DataError(
            source="batch_groups",
            problem="KTO estimates a KL from mismatched rows of a batch and needs at least two",
            remedy="set batch_groups to 2 or more",
        )
    learned = encoded(
        context,
        responses,
        labelled,
        policy.encoder,
        max_response_tokens=config.max_response_tokens,
        source=context.data(config.data, PREFERENCES),
    )
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

    return Job(tokens=tokens, loss=loss_for)


def mismatched(batch: Sequence[TokenGroup]) -> list[TokenGroup]:
    """Each prompt with the response of the next row (Ethayarajh 2024, section 4.1)."""
    return [
        token_group(own.id, own.prompt, other.responses)
        for own, other in zip(batch, (*batch[1:], batch[0]), strict=True)
    ]
