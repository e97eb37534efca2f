"""`pretrain`: a tokenizer and a causal language model from scratch, on plain text."""

from collections.abc import Sequence

from palate.algorithms import sft
from palate.batches.groups import TokenGroup
from palate.batches.padding import fitted, response_mask
from palate.config.common import PromptConfig
from palate.config.stages import PretrainConfig
from palate.interfaces import Loss, LossOf, Outputs
from palate.maths.seeds import seed
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.forward import supports_tree
from palate.models.load import encoder_of, placed, save_policy
from palate.models.precision import autocast, pick_device
from palate.models.roles import PlainPolicyRole
from palate.stages import sources
from palate.stages.context import MODEL, StageContext
from palate.stages.loads import announce, pretrain_memory
from palate.stages.training import last_value, train
from palate.training.examples import Examples, LossFor


def run(config: PretrainConfig, context: StageContext) -> dict[str, float]:
    """Train and save; the summary says how large the model is and what it learned."""
    documents = sources.texts(context, config.corpus, config.text_field)[: config.limit or None]
    tokenizer = train_tokenizer(
        documents, vocabulary=config.architecture.vocabulary, chat=config.chat
    )
    device = pick_device(config.compute.device)
    network = placed(
        build_causal_lm(config.architecture, tokenizer, seed=seed(context.seed, "weights")),
        device,
    )
    encoder = encoder_of(network, tokenizer, PromptConfig())
    rows = [
        piece
        for document in documents
        for piece in pieces(encoder.encode_text(document), config.block_tokens)
    ]
    role = PlainPolicyRole(
        network,
        layout=supports_tree(network).layout,
        temperature=1.0,
        scope=lambda: autocast(device, config.compute.precision),
    )
    batch = max(1, config.batch_tokens * len(rows) // sum(row.num_tokens for row in rows))
    announce(context, config, pretrain_memory(config, network, rows, batch=batch))
    train(config, context, role, Examples(rows, likelihood_loss(rows, "token_mean")), batch=batch)
    save_policy(network, tokenizer, context.folder.path / MODEL, prompt_format="chat")
    return {
        "parameters": float(sum(p.numel() for p in network.parameters())),
        "documents": float(len(documents)),
        "tokens": float(sum(row.num_tokens for row in rows)),
        "nll": last_value(context, "sft/nll"),
    }


def pieces(document: TokenGroup, block: int) -> list[TokenGroup]:
    """A document cut to rows of at most `block` tokens; a cut row goes on from its last token."""
    tokens = document.responses[0]
    cut: list[TokenGroup] = []
    prompt = document.prompt
    for start in range(0, len(tokens), block - 1):
        part = tokens[start : start + block - 1]
        mask = (True,) * len(part)
        cut.append(TokenGroup(id=document.id, prompt=prompt, responses=(part,), masks=(mask,)))
        prompt = part[-1:]
    return cut


def likelihood_loss(rows: Sequence[TokenGroup], reduction: sft.Reduction) -> LossFor:
    """The supervised loss of a batch of these rows."""

    def loss_for(batch: Sequence[int]) -> LossOf:
        def loss(outputs: Outputs, indices: Sequence[int]) -> Loss:
            mask = response_mask([rows[batch[i]] for i in indices]).to(outputs.logprobs.device)
            mask = fitted(mask, outputs.logprobs.shape[1])
            return sft.loss(outputs, mask, reduction=reduction)

        return loss

    return loss_for
