"""`sft`: supervised fine-tuning of a policy on demonstrations."""

from typing import get_args

from palate.config.stages import SftConfig
from palate.maths.seeds import seed
from palate.models.adapters import add_adapter
from palate.models.load import save_policy
from palate.stages import sources
from palate.stages.context import DEMONSTRATIONS, MODEL, StageContext
from palate.stages.encoding import Part, demonstrated, encoded
from palate.stages.loads import announce, fixed_memory, outline_of
from palate.stages.policies import POLICY, open_policy
from palate.stages.pretrain import likelihood_loss
from palate.stages.training import last_value, train
from palate.training.examples import Examples


def run(config: SftConfig, context: StageContext) -> dict[str, float]:
    """Train and save the policy."""
    policy = open_policy(
        context,
        config.model,
        prompt=config.prompt,
        compute=config.compute,
    )
    encoder = policy.encoder
    parts = sources.demonstrations(context, config.data, held_out_fraction=config.held_out_fraction)
    rows, held = (
        encoded(
            context,
            rows[: config.limit or None],
            demonstrated(config.train_on),
            encoder,
            max_response_tokens=config.max_response_tokens,
            source=context.data(config.data, DEMONSTRATIONS),
            part=part,
        ).tokens
        for rows, part in zip(parts, get_args(Part), strict=True)
    )
    announce(context, config, fixed_memory(config, outline_of(policy.network), rows))
    if config.lora.rank:
        add_adapter(policy.network, config.lora, name=POLICY, seed=seed(context.seed, "adapter"))
    trained = train(
        config,
        context,
        policy.plain_role(),
        Examples(rows, likelihood_loss(rows, config.reduction)),
        batch=config.batch_rows,
        held=Examples(held, likelihood_loss(held, config.reduction)),
    )
    save_policy(
        policy.network,
        policy.tokenizer,
        context.folder.path / MODEL,
        prompt_format=config.prompt.format,
    )
    return {
        "rows": float(len(rows)),
        "boundary_merges": float(encoder.boundary_merges),
        "rendered_otherwise": float(encoder.rendered_otherwise),
        "nll": last_value(context, "sft/nll"),
    } | trained.summary
