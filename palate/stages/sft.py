"""`sft`: supervised fine-tuning of a policy on demonstrations."""

from palate.config.stages import SftConfig
from palate.maths.seeds import seed
from palate.models.adapters import add_adapter
from palate.models.load import save_policy
from palate.stages import sources
from palate.stages.context import DEMONSTRATIONS, MODEL, StageContext
from palate.stages.encoding import demonstrated, encoded
from palate.stages.loads import announce, fixed_memory, outline_of
from palate.stages.policies import POLICY, open_policy
from palate.stages.pretrain import likelihood_loss
from palate.training.checkpoints import Checkpoints
from palate.training.fit import fit
from palate.training.learner import LocalLearner
from palate.training.order import num_updates


def run(config: SftConfig, context: StageContext) -> dict[str, float]:
    """Train and save the policy."""
    policy = open_policy(
        context,
        config.model,
        prompt=config.prompt,
        compute=config.compute,
    )
    encoder = policy.encoder
    learned = encoded(
        context,
        sources.demonstrations(context, config.data),
        demonstrated(config.train_on),
        encoder,
        max_response_tokens=config.max_response_tokens,
        source=context.data(config.data, DEMONSTRATIONS),
    )
    rows = learned.tokens
    announce(context, config, fixed_memory(config, outline_of(policy.network), rows))
    if config.lora.rank:
        add_adapter(policy.network, config.lora, name=POLICY, seed=seed(context.seed, "adapter"))
    learner = LocalLearner(
        policy.plain_role(),
        config.optimizer,
        total_updates=num_updates(len(rows), batch=config.batch_rows, epochs=config.epochs),
        budget=config.compute.micro_batch_tokens,
    )
    fit(
        learner,
        rows,
        likelihood_loss(rows, config.reduction),
        batch=config.batch_rows,
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
    return {
        "rows": float(len(rows)),
        "left_out": float(learned.left_out),
        "boundary_merges": float(encoder.boundary_merges),
        "rendered_otherwise": float(encoder.rendered_otherwise),
        "nll": context.folder.metrics()[-1]["sft/nll"],
    }
