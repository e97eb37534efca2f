"""`sample`: k responses per prompt from one or several policies, into groups and the store."""

from collections.abc import Sequence

from palate.config.stages import SampleConfig
from palate.interfaces import Rollout
from palate.maths.seeds import seed
from palate.models.tokens import Encoder
from palate.records import Group, Prompt, Response, Sampling
from palate.stages import sources
from palate.stages.context import GROUPS, StageContext
from palate.stages.policies import open_policy
from palate.store.database import Store

_CHUNK = 128


def run(config: SampleConfig, context: StageContext) -> dict[str, float]:
    """Write groups.jsonl and add the groups to the run's project in the database."""
    prompts = sources.prompts(context, config.prompts, limit=config.limit)
    shares = [config.k // len(config.models)] * len(config.models)
    for index in range(config.k % len(config.models)):
        shares[index] += 1
    written: list[list[Response]] = [[] for _ in prompts]
    for model, k in zip(config.models, shares, strict=True):
        if k == 0:
            continue
        for index, responses in enumerate(_respond(config, context, model, k, prompts)):
            written[index] += responses
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


def _respond(
    config: SampleConfig, context: StageContext, model: str, k: int, prompts: Sequence[Prompt]
) -> list[list[Response]]:
    policy = open_policy(
        context,
        model,
        prompt=config.prompt,
        compute=config.compute,
    )
    sampler = policy.sampler(config.sampling)
    asked = [policy.encoder.encode_prompt(prompt) for prompt in prompts]
    settings = Sampling(
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        max_tokens=config.sampling.max_tokens,
    )
    name, rows = model.removeprefix("@"), []
    for start in range(0, len(asked), _CHUNK):
        drawn = sampler.sample(
            asked[start : start + _CHUNK], k, seed=seed(context.seed, "sample", name)
        )
        rows += [
            [response_of(r, policy.encoder, name, settings) for r in rollouts] for rollouts in drawn
        ]
        context.monitor.log(start + len(drawn) - 1, len(asked), {})
    return rows


def response_of(rollout: Rollout, encoder: Encoder, policy: str, sampling: Sampling) -> Response:
    """A rollout as a record: its text beside the very ids that were sampled."""
    return Response(
        text=encoder.decode(rollout.tokens),
        token_ids=rollout.tokens,
        finish="stop" if rollout.finished else "length",
        policy=policy,
        sampling=sampling,
    )
