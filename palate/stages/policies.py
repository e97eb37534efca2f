"""Opening models in their roles: the policy that learns, its reference, its sampler, a reward."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from palate.config.common import ComputeConfig, LoraConfig, PromptConfig, SamplingConfig
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.feedback.functions import load_function, parse_function
from palate.feedback.scorers import FunctionScorer, RewardModelScorer
from palate.feedback.verifiers import VERIFIERS
from palate.interfaces import Rollout, Scorer, TokenPrompt
from palate.maths.seeds import seed
from palate.models.adapters import adapter, adapter_names, adapters_off, add_adapter
from palate.models.forward import supports_tree
from palate.models.generate import Generator
from palate.models.layout import Layout
from palate.models.load import load_policy
from palate.models.precision import autocast, pick_device
from palate.models.reward_model import LoadedReward, load_reward, share_backbone
from palate.models.roles import PlainPolicyRole, PolicyRole, RewardRole
from palate.models.tokens import Encoder
from palate.stages.context import StageContext
from palate.store.errors import DataError
from palate.training.learner import read_all
from palate.worlds import cafe

POLICY, CRITIC, REWARD = "policy", "critic", "reward"
"""The names of the adapters on a shared backbone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPolicy:
    """A causal language model, ready to be put into roles."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    layout: Layout
    device: torch.device
    compute: ComputeConfig

    def precision(self) -> AbstractContextManager[object]:
        """The autocast context that the stage asked for."""
        return autocast(self.device, self.compute.precision)

    @property
    def adapter(self) -> str:
        """The adapter that the policy trains; empty when it trains all weights."""
        return POLICY if POLICY in adapter_names(self.network) else ""

    def role(self, *, temperature: float) -> PolicyRole:
        """Log-probabilities and entropies."""
        return PolicyRole(
            self.network,
            layout=self.layout,
            temperature=temperature,
            adapter=self.adapter,
            scope=self.precision,
        )

    def plain_role(self) -> PlainPolicyRole:
        """Log-probabilities alone, at temperature 1."""
        return PlainPolicyRole(
            self.network,
            layout=self.layout,
            temperature=1.0,
            adapter=self.adapter,
            scope=self.precision,
        )

    def sampler(self, sampling: SamplingConfig) -> "PolicySampler":
        """Draws responses from this network as it is at each call."""
        return PolicySampler(self, sampling)


class PolicySampler:
    """`Sampler` over a local network."""

    def __init__(self, policy: OpenPolicy, sampling: SamplingConfig) -> None:
        self.sampling = sampling
        self.generator = Generator(
            policy.network,
            eos_ids=policy.encoder.eos_ids,
            pad_id=policy.encoder.pad_id,
            autocast=policy.precision,
        )

    def sample(
        self, prompts: Sequence[TokenPrompt], k: int, *, seed: int
    ) -> list[tuple[Rollout, ...]]:
        """k rollouts per prompt, in order."""
        return self.generator.generate(
            prompts,
            k,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=self.sampling.max_tokens,
            rows=self.sampling.rows,
            seed=seed,
        )


def open_policy(
    context: StageContext,
    reference: str,
    *,
    prompt: PromptConfig,
    compute: ComputeConfig,
) -> OpenPolicy:
    """Load `@stage`, a folder or a Hub name, and find out which layout its architecture takes."""
    device = pick_device(compute.device)
    loaded = load_policy(context.model(reference), device=device)
    return OpenPolicy(
        network=loaded.network,
        tokenizer=loaded.tokenizer,
        encoder=loaded.encoder(prompt),
        layout=supports_tree(loaded.network).layout,
        device=device,
        compute=compute,
    )


def with_reference(
    policy: OpenPolicy, lora: LoraConfig, *, temperature: float, run_seed: int
) -> tuple[OpenPolicy, PolicyRole]:
    """(policy to train, frozen reference): a copy, or with LoRA the same backbone, adapters off."""
    if lora.rank == 0:
        frozen = copy.deepcopy(policy.network).requires_grad_(False)
        reference = PolicyRole(
            frozen, layout=policy.layout, temperature=temperature, scope=policy.precision
        )
        policy.network.requires_grad_(True)
        return policy, reference
    add_adapter(policy.network, lora, name=POLICY, seed=seed(run_seed, "adapter"))
    reference = PolicyRole(
        policy.network,
        layout=policy.layout,
        temperature=temperature,
        scope=both(policy.precision, lambda: adapters_off(policy.network)),
    )
    return policy, reference


def both(
    outer: Callable[[], AbstractContextManager[object]],
    inner: Callable[[], AbstractContextManager[object]],
) -> Callable[[], AbstractContextManager[object]]:
    """A scope that opens two."""

    @contextmanager
    def scope() -> Iterator[None]:
        with outer(), inner():
            yield

    return scope


def open_scorer(
    context: StageContext,
    spec: str,
    *,
    prompt: PromptConfig,
    compute: ComputeConfig,
    policy: OpenPolicy | None,
) -> Scorer:
    """A scorer by its config name: `judge:cafe`, `verifier:NAME`, `file.py:function`, else a model.

    `file.py:factory(@stage)` calls the factory with that stage's folder and takes what it returns.

    `policy` wrote the responses, if they have token ids. A reward model that was trained as an
    adapter of the backbone under the policy's own adapters becomes one more of them.
    """
    kind, _, name = spec.partition(":")
    if kind == "verifier":
        if name not in VERIFIERS:
            raise DataError(
                source=spec,
                problem="no such verifier",
                remedy=f"one of {', '.join('verifier:' + v for v in VERIFIERS)}",
            )
        return FunctionScorer(spec, VERIFIERS[name])
    if spec in ("judge:cafe", "annotator:cafe"):
        return FunctionScorer("cafe", cafe_taste)
    function = parse_function(spec)
    if function is not None:
        made = load_function(spec)
        if function.argument:
            made = made(context.source(function.argument))
        return FunctionScorer(function.name, made)
    loaded, role = _reward_role(context.model(spec), compute, policy)
    return RewardModelScorer(
        spec.removeprefix("@"),
        lambda groups: read_all(role, groups, budget=compute.micro_batch_tokens).scores.tolist(),
        loaded.encoder(prompt),
        center=loaded.center,
        policy_ids=policy is not None and same_vocabulary(policy.tokenizer, loaded.tokenizer),
    )


def _reward_role(
    source: str, compute: ComputeConfig, policy: OpenPolicy | None
) -> tuple[LoadedReward, RewardRole]:
    """A reward model and its role: on the policy's backbone if it was trained there, else alone."""
    if policy is not None and policy.adapter:
        shared = share_backbone(policy.network, source, name=REWARD)
        if shared is not None:
            scope = both(policy.precision, lambda: adapter(policy.network, REWARD))
            role = RewardRole(
                shared.network, layout=policy.layout, head=shared.head, adapter=REWARD, scope=scope
            )
            return shared, role
    device = pick_device(compute.device)
    own = load_reward(source, device=device)
    layout = supports_tree(own.network).layout
    scope = partial(autocast, device, compute.precision)
    return own, RewardRole(own.network, layout=layout, scope=scope)


def names_model(spec: str) -> bool:
    """Whether a reward's config name is that of a model."""
    kind = spec.partition(":")[0]
    return parse_function(spec) is None and kind not in ("verifier", "judge", "annotator")


def reward_model_of(config: AnyOnPolicyConfig) -> str:
    """The reward that is a model; empty when all of them are functions or verifiers."""
    models = [spec for spec in config.rewards if names_model(spec)]
    if len(models) > 1:
        raise DataError(
            f"{' and '.join(models)} are reward models, and a stage opens one",
            source="reward",
            remedy="name one of them beside functions and verifiers",
        )
    return "".join(models)


def cafe_taste(prompt: str, response: str, reference: str) -> float:
    """The embedded world's true taste; it reads the prompt's text and needs no reference."""
    del reference
    return cafe.assess(prompt, response).score


def same_vocabulary(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give the same ids the same meaning."""
    return one.get_vocab() == other.get_vocab()
