"""The loop over sampled data: roll out, score, prepare, update; all on-policy methods alike."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from palate.algorithms.onpolicy import Algorithm
from palate.algorithms.ppo import explained_variance
from palate.algorithms.rlhf import rollout_metrics, sequence_rewards, shaped_scores
from palate.batches.experience import Experience, Rollouts
from palate.batches.groups import TokenGroup, token_group
from palate.batches.metrics import Mean, Metrics
from palate.batches.padding import fitted, padded, response_mask, response_rows
from palate.config.onpolicy import AnyOnPolicyConfig, GrpoConfig
from palate.interfaces import Loss, LossOf, Outputs, PartScorer, Rollout, Sampler, Scored, Scorer
from palate.maths.seeds import seed
from palate.models.tokens import Encoder
from palate.records import Group, Prompt, Sampling
from palate.training.checkpoints import Checkpoint, Checkpoints
from palate.training.control import KlController, certified_bound
from palate.training.learner import LocalLearner, learning_rate, read_all
from palate.training.monitor import Monitor
from palate.training.order import batch_indices, split
from palate.training.reference import Averaged, Frozen
from palate.training.stops import StopRequests


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    """Who takes part: the policy that learns, its reference, the sampler, the reward."""

    policy: LocalLearner
    reference: Frozen | Averaged
    sampler: Sampler
    scorer: Scorer
    encoder: Encoder
    critic: LocalLearner | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One prompt's responses as text and as ids, with their scores."""

    group: Group
    tokens: TokenGroup
    rollouts: tuple[Rollout, ...]
    scores: Scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step's rollouts as text, as ids and as tensors, and what was made of them."""

    groups: list[Group]
    tokens: list[TokenGroup]
    rollouts: Rollouts
    experience: Experience


BeforeStep = Callable[[int, int], None]
"""(number of a step from 0, how many there will be) -> nothing."""
AfterStep = Callable[[Step, int, int], None]
"""(a step, its number from 0, how many there will be) -> nothing."""


class OnlineLoop:
    """Rollout-and-update steps of one algorithm. Seeds are named, so step s is a pure function of
    the weights, the controller and s: resuming equals never stopping."""

    def __init__(
        self, actors: Actors, algorithm: Algorithm, config: AnyOnPolicyConfig, *, run_seed: int
    ) -> None:
        self.actors, self.algorithm, self.config = actors, algorithm, config
        self.run_seed = run_seed
        self.controller = KlController(config.kl)
        self.certified: dict[str, torch.Tensor] = {}

    def run(
        self,
        prompts: Sequence[Prompt],
        *,
        monitor: Monitor,
        checkpoints: Checkpoints,
        before: BeforeStep = lambda step, total: None,
        after: AfterStep = lambda done, step, total: None,
    ) -> None:
        """All steps from the latest checkpoint on.

        `after` is given each step when its metrics are logged. Who asks to stop gets a checkpoint
        of the step that is done.
        """
        steps = self.config.steps
        with StopRequests() as stop:
            for step in range(self._resume(checkpoints), steps):
                before(step, steps)
                done, values = self.step(prompts, step)
                monitor.log(step, steps, values)
                after(done, step, steps)
                if stop.received or (checkpoints.due(step + 1) and step + 1 < steps):
                    checkpoints.save(self._checkpoint(step + 1))
                stop.leave()

    def step(self, prompts: Sequence[Prompt], step: int) -> tuple[Step, dict[str, float]]:
        """One step: its data and its metrics."""
        config, actors = self.config, self.actors
        batch = min(config.batch_prompts, len(prompts))
        order = batch_indices(len(prompts), step, batch=batch, run_seed=self.run_seed)
        own = seed(self.run_seed, "sample", step)
        drawn = self.draw([prompts[i] for i in order], own, k=config.k)
        discarded = self._replace_dead(drawn, prompts, order, step)
        done = self._prepared(drawn)
        self._certify(done.rollouts)
        rewards = sequence_rewards(done.rollouts, config, kl_coef=self.controller.coef)
        metrics = rollout_metrics(done.rollouts, rewards) + part_metrics(drawn)
        metrics = metrics + self.update(done, step)
        values = metrics.values() | {"kl/coef": self.controller.coef}
        values["reward/score_std"] = math.sqrt(
            max(0.0, values.pop("reward/score_squared") - values["reward/score"] ** 2)
        )
        if _rounds(config):
            values["group/discarded"] = discarded
        if actors.critic:
            values["critic/explained_variance"] = explained_variance(done.experience)
        rate = learning_rate(config.optimizer, actors.policy.updates, actors.policy.total_updates)
        decay = max(0.02, rate / config.optimizer.lr) if config.optimizer.lr else 1.0
        self.controller.step(done.rollouts, decay=decay)
        actors.reference.follow(actors.policy.weights())
        return done, values

    def roll_out(self, prompts: Sequence[Prompt], sample_seed: int) -> Step:
        """Sample k responses per prompt, score them, and prepare the experience."""
        return self._prepared(self.draw(prompts, sample_seed, k=self.config.k))

    def draw(self, prompts: Sequence[Prompt], sample_seed: int, *, k: int) -> list[Drawn]:
        """Sample k responses per prompt and score them."""
        actors, config = self.actors, self.config
        asked = [actors.encoder.encode_prompt(prompt) for prompt in prompts]
        drawn = actors.sampler.sample(asked, k, seed=sample_seed)
        sampling = Sampling(
            temperature=config.sampling.temperature, max_tokens=config.sampling.max_tokens
        )
        groups = [
            Group(
                prompt=prompt,
                responses=tuple(
                    actors.encoder.response(r, policy=config.stage, sampling=sampling)
                    for r in rollouts
                ),
            )
            for prompt, rollouts in zip(prompts, drawn, strict=True)
        ]
        return [
            Drawn(
                group=group,
                tokens=token_group(ask.id, ask.ids, tuple(r.tokens for r in rollouts)),
                rollouts=rollouts,
                scores=scores,
            )
            for ask, group, rollouts, scores in zip(
                asked, groups, drawn, scored(actors.scorer, groups), strict=True
            )
        ]

    def _replace_dead(
        self, drawn: list[Drawn], prompts: Sequence[Prompt], order: Sequence[int], step: int
    ) -> int:
        """Groups of equal rewards give way, in place, to groups of prompts not yet asked in this
        step (DAPO's dynamic sampling); how many were discarded. Rounds and prompts may run out."""
        used, discarded = set(order), 0
        (shuffled,) = split(len(prompts), parts=1, run_seed=seed(self.run_seed, "resample", step))
        spare = [i for i in shuffled if i not in used]
        for attempt in range(_rounds(self.config)):
            dead = [place for place, one in enumerate(drawn) if self._is_dead(one)]
            fresh, spare = spare[: len(dead)], spare[len(dead) :]
            if not fresh:
                break
            again = seed(self.run_seed, "sample", step, attempt + 1)
            replacements = self.draw([prompts[i] for i in fresh], again, k=self.config.k)
            for place, one in zip(dead, replacements, strict=False):
                drawn[place] = one
            discarded += len(fresh)
        return discarded

    def _is_dead(self, one: Drawn) -> bool:
        lengths = torch.tensor([len(r.tokens) for r in one.rollouts])
        finished = torch.tensor([r.finished for r in one.rollouts])
        scores = torch.tensor(one.scores.total, dtype=torch.float32)
        return len(shaped_scores(scores, lengths, finished, self.config).unique()) == 1

    def _prepared(self, drawn: Sequence[Drawn]) -> Step:
        rollouts = self._tensors(drawn)
        return Step(
            groups=[one.group for one in drawn],
            tokens=[one.tokens for one in drawn],
            rollouts=rollouts,
            experience=self.algorithm.prepare(rollouts, self.config, kl_coef=self.controller.coef),
        )

    def _tensors(self, drawn: Sequence[Drawn]) -> Rollouts:
        actors, tokens = self.actors, [one.tokens for one in drawn]
        flat = [rollout for one in drawn for rollout in one.rollouts]
        scores = [score for one in drawn for score in one.scores.total]
        old = actors.policy.outputs(tokens).logprobs
        device, time = old.device, old.shape[1]
        reference = read_all(actors.reference.role, tokens, budget=actors.policy.budget).logprobs
        values = actors.critic.outputs(tokens).values if actors.critic else torch.zeros_like(old)
        groups = torch.arange(len(tokens)).repeat_interleave(self.config.k)
        sampled = padded([r.logprobs for r in flat], torch.float32)
        return Rollouts(
            mask=response_mask(tokens).to(device),
            sampler_logprobs=fitted(sampled, time).to(device),
            old_logprobs=old,
            ref_logprobs=reference,
            values=values,
            scores=torch.tensor(scores, dtype=torch.float32, device=device),
            finished=torch.tensor([r.finished for r in flat], device=device),
            group_index=groups.to(device),
        )

    def update(self, done: Step, step: int) -> Metrics:
        """Epochs of minibatches, split by group; stops early when a hard KL budget is exceeded."""
        config, total = self.config, Metrics()
        for epoch in range(config.epochs):
            order = seed(self.run_seed, "minibatch", step, epoch)
            for rows in split(len(done.tokens), parts=config.minibatches, run_seed=order):
                metrics = self._minibatch(done, rows)
                total = total + metrics
                if self.controller.over_budget(metrics.means["kl/updated_policy"].value):
                    return total
        return total

    def _minibatch(self, done: Step, order: Sequence[int]) -> Metrics:
        groups = [done.tokens[i] for i in order]
        actors, algorithm = self.actors, self.algorithm

        def policy_loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            part = self._part(done, [order[i] for i in indices], outputs.logprobs.shape[1])
            return algorithm.loss(outputs, part, self.config, kl_coef=self.controller.coef)

        updates = {"policy": actors.policy.update(groups, policy_loss)}
        if actors.critic and algorithm.critic_loss:
            updates["critic"] = actors.critic.update(groups, self._critic_loss(done, order))
        metrics = Metrics()
        for name, update in updates.items():
            norm = Metrics({f"{name}/grad_norm": Mean(update.grad_norm, 1.0)})
            metrics = metrics + update.metrics + norm
        return metrics + Metrics({"optimizer/lr": Mean(updates["policy"].lr, 1.0)})

    def _critic_loss(self, done: Step, order: Sequence[int]) -> LossOf:
        critic_loss = self.algorithm.critic_loss
        assert critic_loss is not None

        def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            part = self._part(done, [order[i] for i in indices], outputs.values.shape[1])
            return critic_loss(outputs, part, self.config)

        return loss

    def _part(self, done: Step, groups: Sequence[int], time: int) -> Experience:
        return done.experience.take(response_rows(done.tokens, groups), time)

    def _certify(self, rollouts: Rollouts) -> None:
        """Keep the weights whose rollouts certify the hard budget (95 % upper bound of k1)."""
        if self.config.kl.control != "hard":
            return
        if certified_bound(rollouts) <= self.config.kl.target:
            state = self.actors.policy.state()
            self.certified = {
                name: tensor.clone() for name, tensor in state.items() if name[:6] == "weight"
            }

    def _checkpoint(self, step: int) -> Checkpoint:
        states = {"policy": self.actors.policy.state()}
        if self.actors.critic:
            states["critic"] = self.actors.critic.state()
        states["reference"] = self.actors.reference.state()
        if self.certified:
            states["certified"] = self.certified
        return Checkpoint(step=step, states=states, scalars={"kl/coef": self.controller.coef})

    def _resume(self, checkpoints: Checkpoints) -> int:
        saved = checkpoints.latest()
        if saved is None:
            return 0
        self.actors.policy.load_state(saved.states["policy"])
        if self.actors.critic:
            self.actors.critic.load_state(saved.states["critic"])
        self.actors.reference.load_state(saved.states["reference"])
        self.certified = dict(saved.states.get("certified", {}))
        self.controller.coef = saved.scalars["kl/coef"]
        return saved.step


def scored(scorer: Scorer, groups: Sequence[Group]) -> list[Scored]:
    """The scores of groups, with their parts where the scorer has several."""
    if isinstance(scorer, PartScorer):
        return scorer.scored(groups)
    return [Scored(total=row, parts={}) for row in scorer.score(groups)]


def part_metrics(drawn: Sequence[Drawn]) -> Metrics:
    """Mean of each of several rewards over the responses that it applies to; none of the others."""
    total = Metrics()
    for one in drawn:
        for name, row in one.scores.parts.items():
            given = [score for score in row if score is not None]
            if given:
                mean = Mean(sum(given), len(given))
                total = total + Metrics({f"reward/part/{name}": mean})
    return total


def _rounds(config: AnyOnPolicyConfig) -> int:
    return config.resample_rounds if isinstance(config, GrpoConfig) else 0
