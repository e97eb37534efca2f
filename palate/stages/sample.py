"""`sample`: k responses per prompt from one or several policies, into groups and the store."""

from collections.abc import Iterator, Sequence

from palate.config.common import SamplingConfig
from palate.config.stages import SampleConfig
from palate.maths.seeds import seed
from palate.records import Group, Prompt, Response, Sampling
from palate.stages import sources
from palate.stages.context import GROUPS, PROMPTS, StageContext
from palate.stages.encoding import asked, encoded
from palate.stages.policies import OpenPolicy, open_policy
from palate.store.database import Store

_CHUNK = 256


def run(config: SampleConfig, context: StageContext) -> dict[str, float]:
    """Write groups.jsonl and add the groups to the run's project in the database."""
    prompts = sources.prompts(context, config.prompts, limit=config.limit)
    written: list[list[Response]] = []
    for model, k in zip(config.models, shares(config.k, len(config.models)), strict=True):
        policy = open_policy(context, model, prompt=config.prompt, compute=config.compute)
        if not written:
            prompts = encoded(
                context,
                prompts,
                asked,
                policy.encoder,
                max_response_tokens=config.sampling.max_tokens,
                source=context.data(config.prompts, PROMPTS),
            ).rows
            written = [[] for _ in prompts]
        name = model.removeprefix("@")
        for index, response in _responses(config, context, policy, prompts, name=name, k=k):
            written[index].append(response)
        del policy  # one network at a time
    groups = [
        Group(prompt=prompt, responses=tuple(responses))
        for prompt, responses in zip(prompts, written, strict=True)
    ]
    context.folder.write_jsonl(GROUPS, groups)
    with Store(context.store_url) as store:
        store.add_groups(context.project, groups)
    responses = [response for group in groups for response in group.responses]
    return {
        "prompts": float(len(prompts)),
        "responses": float(len(responses)),
        "finished": sum(r.finish == "stop" for r in responses) / len(responses),
    }


def shares(k: int, policies: int) -> list[int]:
    """How many of k responses each policy writes; the first ones write the remainder.

    >>> shares(5, 2)
    [3, 2]
    """
    each, more = divmod(k, policies)
    return [each + (index < more) for index in range(policies)]


def _responses(
    config: SampleConfig,
    context: StageContext,
    policy: OpenPolicy,
    prompts: Sequence[Prompt],
    *,
    name: str,
    k: int,
) -> Iterator[tuple[int, Response]]:
    """(index of the prompt, response) of every response that one policy writes."""
    sampler = policy.sampler(config.sampling)
    settings = sampling_record(config.sampling)
    own_seed = seed(context.seed, "sample", name)
    for start in range(0, len(prompts), _CHUNK):
        chunk = [policy.encoder.encode_prompt(p) for p in prompts[start : start + _CHUNK]]
        for offset, rollouts in enumerate(sampler.sample(chunk, k, seed=own_seed)):
            for rollout in rollouts:
                yield (
                    start + offset,
                    policy.encoder.response(rollout, policy=name, sampling=settings),
                )
        context.monitor.log(start + len(chunk) - 1, len(prompts), {})


def sampling_record(sampling: SamplingConfig) -> Sampling:
    """How responses are drawn, as it is kept beside them."""
    return Sampling(
        temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens
    )
