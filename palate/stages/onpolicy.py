"""`ppo`, `grpo`, `reinforce`, `rloo`, `online_dpo`: one stage, because they are one loop."""

import torch
from transformers import PreTrainedModel

from palate.algorithms.onpolicy import ALGORITHMS
from palate.config.objectives import sentences
from palate.config.onpolicy import AnyOnPolicyConfig, PpoConfig
from palate.feedback.compose import WeightedScorer
from palate.feedback.verifiers import GRADER
from palate.interfaces import Scorer
from palate.maths.seeds import seed
from palate.models.adapters import adapter, adapter_names, adapter_parameters, add_adapter
from palate.models.forward import backbone_of
from palate.models.load import load_policy, read_config, save_policy
from palate.models.names import resolved
from palate.models.precision import precision_on
from palate.models.reward_model import ValueModel, load_reward
from palate.models.roles import CriticRole, PolicyRole
from palate.stages import sources
from palate.stages.context import CREDIT, MODEL, OBJECTIVE, PROMPTS, StageContext
from palate.stages.encoding import asked, encoded
from palate.stages.loads import announce, online_memory, outline_of, outlined
from palate.stages.policies import (
    CRITIC,
    POLICY,
    REWARD,
    OpenPolicy,
    both,
    open_policy,
    open_scorer,
    reward_model_of,
    with_reference,
)
from palate.training.checkpoints import Checkpoints
from palate.training.control import certified_bound
from palate.training.improve import Actors, OnlineLoop, Step
from palate.training.learner import LocalLearner
from palate.training.ratios import RatioWatch
from palate.training.reference import Averaged, Frozen
from palate.training.samples import Watch
from palate.training.trust import Witness

REFERENCE = "reference"
"""The adapter of a reference that moves."""

_CREDIT_ROWS = 12
_CERTIFICATE_PROMPTS = 512


def run(config: AnyOnPolicyConfig, context: StageContext) -> dict[str, float]:
    """Improve the policy against the reward, save it, and keep some responses with their credit."""
    context.folder.write_json(OBJECTIVE, sentences(config))
    opened = open_policy(context, config.model, prompt=config.prompt, compute=config.compute)
    outline = outline_of(opened.network)
    policy, actors = _actors(config, context, opened)
    witness = Witness(
        actors.policy,
        context.folder,
        vocabulary=policy.network.config.get_text_config().vocab_size,
        precision=precision_on(policy.device, config.compute.precision),
    )
    ratios = RatioWatch(context.folder, config)
    algorithm = witness.watching(ratios.watching(ALGORITHMS[config.stage]))
    loop = OnlineLoop(actors, algorithm, config, run_seed=context.seed)
    source = context.data(config.prompts, PROMPTS)
    found = sources.prompts(context, config.prompts)
    for reward in config.rewards:
        found = sources.verifiable(found, reward, context, source=source)
    askable = encoded(
        context,
        found,
        asked,
        policy.encoder,
        max_response_tokens=config.sampling.max_tokens,
        source=source,
    )
    prompts, groups = askable.rows, askable.tokens
    judge = _judge(config, context, policy)
    announce(context, config, online_memory(config, outline, groups, judge))
    ended = GRADER.ended
    watch = Watch(loop, context.folder, prompts)
    folder = context.folder.folder("checkpoints")

    def before(step: int, steps: int) -> None:
        watch.look(step, steps)
        ratios.before(step, steps)

    def after(done: Step, step: int, steps: int) -> None:
        ratios.after(step)
        witness.after(done, step, steps)
        if step + 1 == steps:
            context.folder.write_json(CREDIT, credit(done, policy))

    loop.run(
        prompts,
        monitor=context.monitor,
        checkpoints=Checkpoints(folder, every=config.checkpoint_steps),
        before=before,
        after=after,
    )
    summary = {"steps": float(config.steps), "kl/coef": loop.controller.coef}
    if GRADER.ended > ended:
        summary["reward/ungraded"] = float(GRADER.ended - ended)
    if config.kl.control == "hard":
        summary |= _certify(loop, prompts[:_CERTIFICATE_PROMPTS], context)
    watch.look(config.steps, config.steps)
    save = context.folder.path / MODEL
    save_policy(policy.network, policy.tokenizer, save, prompt_format=config.prompt.format)
    return summary


def _actors(
    config: AnyOnPolicyConfig, context: StageContext, opened: OpenPolicy
) -> tuple[OpenPolicy, Actors]:
    """The policy as it trains, and everybody who takes part."""
    temperature, budget = config.sampling.temperature, config.compute.micro_batch_tokens
    policy, start = with_reference(
        opened, config.lora, temperature=temperature, run_seed=context.seed
    )
    updates = config.steps * config.epochs * config.minibatches
    role = policy.role(temperature=temperature)
    actors = Actors(
        policy=LocalLearner(role, config.optimizer, total_updates=updates, budget=budget),
        reference=_reference(config, policy, start),
        sampler=policy.sampler(config.sampling),
        scorer=_scorer(config, context, policy),
        encoder=policy.encoder,
        critic=_critic(config, context, policy, updates) if config.stage == "ppo" else None,
    )
    return policy, actors


def _scorer(config: AnyOnPolicyConfig, context: StageContext, policy: OpenPolicy) -> Scorer:
    """The reward, or the weighted sum of several, of which one may be a model."""
    reward_model_of(config)
    scorers = [
        open_scorer(context, spec, prompt=config.prompt, compute=config.compute, policy=policy)
        for spec in config.rewards
    ]
    if isinstance(config.reward, str) and not config.reward_weights:
        return scorers[0]
    return WeightedScorer(scorers, config.reward_weights or (1.0,) * len(scorers))


def _judge(
    config: AnyOnPolicyConfig, context: StageContext, policy: OpenPolicy
) -> PreTrainedModel | None:
    """The outline of a reward model with a backbone of its own; None when there is no such."""
    model = reward_model_of(config)
    if not model or REWARD in adapter_names(policy.network):
        return None
    return outlined(read_config(resolved(context.model(model))))


def _reference(
    config: AnyOnPolicyConfig, policy: OpenPolicy, start: PolicyRole
) -> Frozen | Averaged:
    """The start itself, or an average that begins there; with LoRA that is an adapter."""
    if config.reference == "frozen":
        return Frozen(start)
    if not config.lora.rank:
        weights = dict(start.network.named_parameters())
        return Averaged(start, weights, decay=config.reference_decay)
    add_adapter(policy.network, config.lora, name=REFERENCE, seed=0)
    own = adapter_parameters(policy.network, POLICY)
    weights = {name: adapter_parameters(policy.network, REFERENCE)[_renamed(name)] for name in own}
    role = PolicyRole(
        policy.network,
        layout=policy.layout,
        temperature=config.sampling.temperature,
        scope=both(policy.precision, lambda: adapter(policy.network, REFERENCE)),
    )
    average = Averaged(role, weights, decay=config.reference_decay)
    average.load_state({name: own[name].detach() for name in own})
    for weight in weights.values():
        weight.requires_grad_(False)
    return average


def _renamed(name: str) -> str:
    """The name in the reference's adapter of a weight of the policy's."""
    return ".".join(REFERENCE if part == POLICY else part for part in name.split("."))


def _critic(
    config: PpoConfig, context: StageContext, policy: OpenPolicy, updates: int
) -> LocalLearner:
    """A value model on the reward model's backbone when the reward is one, else on the policy's.

    With LoRA it is an adapter and a head on the policy's own backbone instead.
    """
    if config.lora.rank:
        add_adapter(
            policy.network, config.lora, name=CRITIC, seed=seed(context.seed, "critic adapter")
        )
        shared = ValueModel(backbone_of(policy.network))
        own = both(policy.precision, lambda: adapter(policy.network, CRITIC))
        role = CriticRole(shared, layout=policy.layout, adapter=CRITIC, scope=own)
    else:
        model = reward_model_of(config)
        if config.critic_from == "reward" and model:
            source = load_reward(context.model(model), device=policy.device).network
        else:
            source = load_policy(context.model(config.model), device=policy.device).network
        own = ValueModel(backbone_of(source).requires_grad_(True))
        role = CriticRole(own, layout=policy.layout, scope=policy.precision)
    return LocalLearner(
        role,
        config.critic_optimizer,
        total_updates=updates,
        budget=config.compute.micro_batch_tokens,
    )


def _certify(loop: OnlineLoop, prompts: list, context: StageContext) -> dict[str, float]:
    """Fresh rollouts certify the final policy; failing that, the last certified weights return."""
    budget = loop.config.kl.target
    fresh = loop.roll_out(prompts, seed(context.seed, "certificate"))
    bound = certified_bound(fresh.rollouts)
    if bound > budget and loop.certified:
        learner = loop.actors.policy
        with torch.no_grad():
            for name, parameter in learner.weights().items():
                parameter.copy_(loop.certified[f"weight.{name}"])
        fresh = loop.roll_out(prompts, seed(context.seed, "certificate", "restored"))
        bound = certified_bound(fresh.rollouts)
    return {
        "kl/certified_bound": bound,
        "kl/budget": budget,
        "kl/certified": float(bound <= budget),
    }


def credit(step: Step, policy: OpenPolicy) -> list[dict[str, object]]:
    """Responses of the last step with the advantage of each token, for the report."""
    rows: list[dict[str, object]] = []
    k = step.groups[0].k
    for index, group in enumerate(step.groups[:_CREDIT_ROWS]):
        response, row = group.responses[0], index * k
        length = len(response.token_ids)
        rows.append(
            {
                "prompt": group.prompt.text,
                "tokens": [policy.tokenizer.decode([t]) for t in response.token_ids],
                "advantages": step.experience.advantages[row, :length].tolist(),
                "score": float(step.rollouts.scores[row]),
            }
        )
    return rows
