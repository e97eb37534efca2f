"""A small trial of what an on-policy stage lives on: its sampler, its reference and its reward."""

import statistics
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

import palate
from palate.batches.groups import token_group
from palate.batches.padding import padded, response_mask
from palate.config.common import ComputeConfig, PromptConfig
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.feedback.functions import blame, parse_function
from palate.feedback.verifiers import complaint
from palate.interfaces import MaybeScores, Rollout, Scorer
from palate.maths.kl import k1
from palate.maths.reductions import masked_sum
from palate.maths.seeds import seed
from palate.models.forward import supports_tree
from palate.models.precision import pick_device
from palate.records import Group, Prompt, Response
from palate.stages.doctor.blueprints import Blueprint, Case
from palate.stages.doctor.places import place_of, stage_name
from palate.stages.doctor.verdicts import Exam, Finding, T, counted, ok, problem, warning
from palate.stages.policies import OpenPolicy, names_model, open_scorer, with_reference
from palate.store.errors import DataError
from palate.training.learner import read_all

_PROMPTS, _K, _TOKENS = 6, 4, 64
_NAMED = 3  # references that are quoted
_MISMATCH = 0.02  # nats per token; bf16 rounding stays below it

_OURS = str(Path(palate.__file__).parent)

P = ParamSpec("P")

Score = Callable[[Sequence[Group]], Sequence[MaybeScores]]
"""The scores of every response of every group."""


def guarded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what runs a user's code; whatever goes wrong there becomes a ValueError with its place.

    Errors that palate itself raises say what to do and stay as they are.
    """
    try:
        return function(*args, **kwargs)
    except Exception as error:  # any code may raise anything, and finding out is the point
        last = traceback.extract_tb(error.__traceback__)[-1]
        if isinstance(error, DataError | ValueError | OSError) and last.filename.startswith(_OURS):
            raise
        raise ValueError(blame(error)) from error


def is_function(spec: str) -> bool:
    """Whether a judge or reward is code rather than a model."""
    return not names_model(spec)


def open_function(
    spec: str, case: Case, prompt: PromptConfig, compute: ComputeConfig
) -> Exam[Scorer | None]:
    """The scorer of a function, verifier or the embedded world; None while its data is missing."""
    function = parse_function(spec)
    argument = function.argument if function else ""
    if argument and place_of(argument, case.context) == "later":
        yield ok(f"{spec} waits for [{stage_name(argument)}]")
        return None
    scorer = guarded(open_scorer, case.context, spec, prompt=prompt, compute=compute, policy=None)
    yield ok(f"{spec}: loads")
    return scorer


def rehearsed(
    config: AnyOnPolicyConfig, blueprint: Blueprint, prompts: Sequence[Prompt], case: Case
) -> Exam[list[Group]]:
    """Sample a few responses; compare sampler with learner, and the policy with its reference."""
    policy, reference = with_reference(
        _opened(config, blueprint), config.lora, temperature=config.sampling.temperature, run_seed=0
    )
    short = min(_TOKENS, config.sampling.max_tokens)
    sampler = policy.sampler(config.sampling.model_copy(update={"max_tokens": short}))
    asked = [policy.encoder.encode_prompt(prompt) for prompt in prompts[:_PROMPTS]]
    drawn = sampler.sample(asked, min(_K, config.k), seed=seed(case.context.seed, "doctor"))
    tokens = [
        token_group(ask.id, ask.ids, tuple(r.tokens for r in rollouts))
        for ask, rollouts in zip(asked, drawn, strict=True)
    ]
    budget = config.compute.micro_batch_tokens
    role = policy.role(temperature=config.sampling.temperature)
    own = read_all(role, tokens, budget=budget).logprobs
    sampled = padded([r.logprobs for rollouts in drawn for r in rollouts], own.dtype).to(own.device)
    mask = response_mask(tokens).to(own.device)
    log_ratio = k1(own, read_all(reference, tokens, budget=budget).logprobs)
    yield _self_kl(float(masked_sum(log_ratio, mask).mean()))
    yield _agreement(float(masked_sum((sampled - own).abs(), mask).sum() / mask.sum()))
    return [
        Group(prompt=prompt, responses=tuple(_response(r, policy) for r in rollouts))
        for prompt, rollouts in zip(prompts[:_PROMPTS], drawn, strict=True)
    ]


def _opened(config: AnyOnPolicyConfig, blueprint: Blueprint) -> OpenPolicy:
    device = pick_device(config.compute.device)
    network = blueprint.open(device)
    return OpenPolicy(
        network=network,
        tokenizer=blueprint.tokenizer,
        encoder=blueprint.encoder(config.prompt),
        layout=supports_tree(network).layout,
        device=device,
        compute=config.compute,
    )


def _response(rollout: Rollout, policy: OpenPolicy) -> Response:
    finish = "stop" if rollout.finished else "length"
    text = policy.encoder.decode(rollout.tokens)
    return Response(text=text, token_ids=rollout.tokens, finish=finish)


def _self_kl(kl: float) -> Finding:
    if abs(kl) < 1e-6:
        return ok("KL: k1 of the policy against its own reference is 0 before the first update")
    return problem(
        f"KL: k1 of the policy against its own reference is {kl:.2g} nats before the first update",
        'set compute.precision = "fp32"; if it stays, please report the model',
    )


def _agreement(gap: float) -> Finding:
    text = f"sampler and learner differ by {gap:.1e} nats per token"
    if gap < _MISMATCH:
        return ok(text)
    return warning(text, 'set compute.precision = "fp32": ratios and KL begin with this error')


def reward_signal(name: str, score: Score, groups: Sequence[Group], whose: str) -> Finding:
    """Mean and spread of the reward over some responses; without spread there is nothing to learn.

    `whose` says who wrote them. Responses that it does not apply to are left out.
    """
    rows = guarded(score, groups)
    scores = [score for row in rows for score in row if score is not None]
    if not scores:
        return warning(
            f"reward {name} returned None, does not apply, for all responses {whose}",
            "let it return a number for some responses, or leave it out",
        )
    mean, spread = statistics.fmean(scores), statistics.pstdev(scores)
    text = f"reward {name} on {counted(len(scores), 'response')} {whose}: mean {mean:.3g}"
    if spread == 0:
        return warning(
            f"{text}, all equal: no signal to learn from",
            "check the reward, or begin with a policy that succeeds now and then",
        )
    return ok(f"{text}, spread {spread:.3g}, from {min(scores):.3g} to {max(scores):.3g}")


def with_references(spec: str, prompts: Sequence[Prompt]) -> Exam[None]:
    """Verifiers compare with a prompt's reference; without one that they can read, and that earns 1
    as its own answer, they never reward anything."""
    kind, _, verifier = spec.partition(":")
    if kind != "verifier" or not prompts:
        return
    asked = counted(len(prompts), "prompt")
    bare = sum(not prompt.reference for prompt in prompts)
    if bare:
        text = f"{bare:,} of {asked} have no reference, and {spec} gives 0"
        remedy = "give every prompt a `reference` (or `answer`) field"
        yield problem(text, remedy) if bare == len(prompts) else warning(text, remedy)
    said = {prompt.reference: complaint(verifier, prompt.reference) for prompt in prompts}
    bad = [reference for reference in said if said[reference]]
    if bad:
        some = "; ".join(f"{one[:40]!r} {said[one]}" for one in bad[:_NAMED])
        count = sum(bool(said[prompt.reference]) for prompt in prompts)
        yield problem(
            f"{spec} cannot compare with {count:,} of the references of {asked}: {some}",
            'correct them, use verifier:exact, or leave the rows out with bad_rows = "skip"',
        )
    elif bare < len(prompts):
        yield ok(f"{spec}: every reference earns 1 as its own answer")


def ready_made(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[Group]:
    """Some prompts with what is there before any policy: their references and these responses."""
    groups = []
    for index, prompt in enumerate(prompts[:_PROMPTS]):
        own = [prompt.reference] if prompt.reference else []
        own += responses[index::_PROMPTS]
        if own:
            texts = tuple(Response(text=text) for text in own)
            groups.append(Group(prompt=prompt, responses=texts))
    return groups
