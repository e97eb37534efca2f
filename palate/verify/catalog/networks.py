"""The same forward pass, generator and objectives on tiny transformers."""

from palate.config.onpolicy import PpoConfig, RlooConfig
from palate.config.stages import DpoConfig, RewardConfig
from palate.verify.catalog.settings import FREE, PI_STAR, REGULARIZED, adam
from palate.verify.checks import Check, above, below
from palate.verify.offline import at_optimum, imitating, preferring, rating, some_pairs
from palate.verify.onpolicy import regularized
from palate.verify.solutions import BETA
from palate.verify.text import normalized, reward_model, sampled, transformer
from palate.verify.worlds import tiny_gpt2, tiny_llama

NETWORKS = (
    *(
        Check(
            name=f"{family}-normalized",
            row="N1",
            objective="forward pass: trees, rows, padding, EOS",
            optimum="probabilities of all responses sum to 1",
            run=normalized(network),
            gates={"sum": below(1e-5), "sum in double": below(1e-12)},
        )
        for family, network in (("llama", tiny_llama), ("gpt2", tiny_gpt2))
    ),
    *(
        Check(
            name=f"{family}-sampled",
            row="N2, N3, N5",
            objective="generator: cache, stopping, log-probabilities",
            optimum="the distribution that the forward pass scores",
            run=sampled(network, draws=5000),
            gates={"token": below(1e-5), "p": above(1e-4), "p of lengths": above(1e-4)},
        )
        for family, network in (("llama", tiny_llama), ("gpt2", tiny_gpt2))
    ),
)

NETWORKS_SLOW = (
    *(
        check
        for family, network in (("llama", tiny_llama), ("gpt2", tiny_gpt2))
        for check in (
            Check(
                name=f"{family}-sampled-more",
                row="N2, N3, N5",
                objective="generator and forward pass at temperature 0.7",
                optimum="one distribution",
                run=sampled(network, draws=20_000, temperature=0.7),
                gates={"token": below(1e-5), "p": above(1e-4), "p of lengths": above(1e-4)},
            ),
            Check(
                name=f"{family}-rloo",
                row="C2",
                objective=REGULARIZED,
                optimum=PI_STAR,
                run=regularized(
                    RlooConfig(k=64, steps=1000, optimizer=adam(3e-3), **FREE),
                    new=transformer(network),
                ),
                gates={"tv": below(3e-2), "kl": below(2e-2), "identity": below(1e-5)},
            ),
            Check(
                name=f"{family}-ppo",
                row="C2",
                objective=f"{REGULARIZED}, GAE and critic",
                optimum=PI_STAR,
                run=regularized(
                    PpoConfig(
                        k=64,
                        steps=800,
                        epochs=1,
                        minibatches=1,
                        optimizer=adam(3e-3),
                        critic_optimizer=adam(3e-3),
                        **FREE,
                    ),
                    new=transformer(network),
                ),
                gates={"tv": below(3e-2), "kl": below(2e-2), "identity": below(1e-5)},
            ),
            Check(
                name=f"{family}-dpo",
                row="C3",
                objective="DPO, soft Bradley-Terry labels, uneven pairs",
                optimum=f"{PI_STAR}, as RL",
                run=at_optimum(
                    preferring(
                        DpoConfig(beta=BETA, optimizer=adam(3e-3)),
                        pairs=some_pairs,
                        updates=500,
                        new=transformer(network),
                    )
                ),
                gates={"tv": below(3e-3), "kl": below(1e-4), "identity": below(1e-5)},
            ),
            Check(
                name=f"{family}-sft",
                row="C1",
                objective="-log pi of demonstrations, token mean",
                optimum="the distribution of the data",
                run=imitating("token_mean", adam(3e-3), updates=400, new=transformer(network)),
                gates={"tv": below(2e-2), "kl": below(5e-3)},
            ),
            Check(
                name=f"{family}-reward",
                row="C6",
                objective="-log sigmoid(r - r'), soft labels",
                optimum="the reward, up to a constant",
                run=rating(
                    RewardConfig(optimizer=adam(5e-3)),
                    updates=1000,
                    new=transformer(network),
                    role=reward_model,
                ),
                gates={"error": below(5e-2)},
            ),
        )
    ),
)
