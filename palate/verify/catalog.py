"""Every check there is: its claim, its run and its gates, one after the other."""

from typing import Literal

from palate.config.common import KlConfig, OptimizerConfig, SamplingConfig
from palate.config.stages import (
    DpoConfig,
    GrpoConfig,
    OnlineDpoConfig,
    PpoConfig,
    ReinforceConfig,
    RewardConfig,
    RlooConfig,
)
from palate.verify import enumeration as exact
from palate.verify.checks import Check, above, below, between
from palate.verify.offline import (
    BETA,
    all_pairs,
    at_optimum,
    at_solution,
    best_of,
    from_votes,
    imitating,
    ipo_solution,
    offset_solution,
    pipeline,
    preferring,
    rating,
    smoothed_solution,
    some_pairs,
)
from palate.verify.onpolicy import (
    budgeted,
    by_coefficient,
    by_deviation,
    by_group_deviation,
    by_rule,
    by_whitening,
    following,
    greedy,
    in_the_loss,
    penalized,
    refused,
    regularized,
    steered,
    with_values,
)
from palate.verify.tabular import independent
from palate.verify.text import normalized, reward_model, sampled, transformer
from palate.verify.worlds import tiny_gpt2, tiny_llama

Estimator = Literal["k1", "k2", "k3", "k1_cumulative", "k3_cumulative"]


def adam(
    lr: float, schedule: Literal["constant", "linear", "cosine"] = "cosine", *, eps: float = 1e-8
) -> OptimizerConfig:
    """No warm-up, no weight decay, no clipping: nothing that could move an optimum."""
    return OptimizerConfig(
        lr=lr, schedule=schedule, warmup_fraction=0.0, clip_norm=0.0, beta2=0.99, eps=eps
    )


def kl_in_loss(estimator: Estimator, coef: float = 0.4) -> KlConfig:
    """The KL as a term of the loss."""
    return KlConfig(coef=coef, placement="loss", estimator=estimator)


def controlled(control: Literal["adaptive", "hard"], target: float) -> RlooConfig:
    """RLOO with a moving coefficient that starts too low."""
    kl = KlConfig(control=control, coef=0.25, target=target, horizon=960)
    schedule = "linear" if control == "hard" else "constant"
    return RlooConfig(k=32, steps=600, kl=kl, missing_eos_penalty=0, optimizer=adam(0.1, schedule))


def grpo_in_loss(kl: KlConfig, *, steps: int = 250) -> GrpoConfig:
    """GRPO whose groups are so even that their mean is the expectation."""
    return GrpoConfig(
        k=64,
        steps=steps,
        baseline="group_mean",
        kl=kl,
        missing_eos_penalty=0,
        optimizer=adam(0.1),
    )


KL = KlConfig(coef=BETA)
FREE = {"kl": KL, "missing_eos_penalty": 0.0}
EXACT = adam(0.1, eps=1e-12)

RLOO = RlooConfig(k=4, steps=400, optimizer=adam(0.1), **FREE)
PPO = PpoConfig(
    k=64,
    steps=400,
    minibatches=1,
    whiten_advantages=False,
    value_clip=0,
    optimizer=adam(0.05, "linear"),
    critic_optimizer=adam(0.3, "linear"),
    **FREE,
)

REGULARIZED = "E[r] - beta KL(policy || reference)"
PI_STAR = "pi* = reference exp(r / beta) / Z"

QUICK = (
    # Sampled data, the KL in the reward.
    Check(
        name="rloo",
        row="C2",
        objective=REGULARIZED,
        optimum=PI_STAR,
        run=regularized(RLOO, groups=16),
        gates={
            "tv": below(5e-3),
            "kl": below(1e-3),
            "gap": below(5e-4),
            "identity": below(1e-12),
            "logged": below(1e-2),
        },
    ),
    Check(
        name="rloo-constant-lr",
        row="C2",
        objective=f"{REGULARIZED}, noise and rate never lowered",
        optimum=f"{PI_STAR}, where the noise vanishes",
        run=regularized(RlooConfig(k=64, steps=300, optimizer=adam(0.1, "constant"), **FREE)),
        gates={"tv": below(2e-2), "kl": below(2e-3), "gap": below(1e-3), "identity": below(1e-12)},
    ),
    Check(
        name="dr-grpo",
        row="C2",
        objective=f"{REGULARIZED}, group mean, no deviation",
        optimum=PI_STAR,
        run=regularized(GrpoConfig(preset="dr_grpo", k=64, steps=400, optimizer=adam(0.1), **FREE)),
        gates={"tv": below(5e-3), "kl": below(1e-3), "gap": below(5e-4), "identity": below(1e-12)},
    ),
    Check(
        name="ppo",
        row="C2, C13",
        objective=f"{REGULARIZED}, GAE and critic",
        optimum=f"{PI_STAR}; V = beta log Z",
        run=with_values(PPO),
        gates={
            "tv": below(1e-2),
            "kl": below(5e-3),
            "gap": below(1e-3),
            "identity": below(1e-12),
            "logged": below(2e-2),
            "value": below(2e-2),
        },
    ),
    Check(
        name="ppo-whitened",
        row="C2",
        objective=f"{REGULARIZED}, whitened, 2 x 2 clipped updates",
        optimum=PI_STAR,
        run=regularized(
            PpoConfig(
                k=96,
                steps=250,
                optimizer=adam(0.05, "linear"),
                critic_optimizer=adam(0.1, "linear"),
                **FREE,
            )
        ),
        gates={"tv": below(2e-2), "kl": below(1e-2), "gap": below(5e-3), "identity": below(1e-12)},
    ),
    Check(
        name="reinforce",
        row="C2",
        objective=f"{REGULARIZED}, mean of the batch as baseline",
        optimum=PI_STAR,
        run=regularized(ReinforceConfig(k=128, steps=300, optimizer=adam(0.1, "linear"), **FREE)),
        gates={"tv": below(5e-2), "kl": below(5e-3), "gap": below(5e-3), "identity": below(1e-12)},
    ),
    Check(
        name="reinforce++",
        row="C2",
        objective=f"{REGULARIZED}, whitened, 2 clipped updates",
        optimum=PI_STAR,
        run=regularized(
            ReinforceConfig(
                preset="reinforce++",
                k=96,
                steps=250,
                epochs=2,
                optimizer=adam(0.1, "linear"),
                **FREE,
            )
        ),
        gates={"tv": below(5e-2), "kl": below(2e-2), "gap": below(1e-2), "identity": below(1e-12)},
    ),
    Check(
        name="gspo",
        row="C2",
        objective=f"{REGULARIZED}, ratios of sequences, 2 clipped updates",
        optimum=f"{PI_STAR}, where every advantage is 0",
        run=regularized(
            GrpoConfig(
                preset="gspo",
                k=64,
                steps=250,
                minibatches=1,
                epochs=2,
                clip_low=0.2,
                clip_high=0.2,
                optimizer=adam(0.05, "linear"),
                **FREE,
            )
        ),
        gates={"tv": below(2e-2), "kl": below(1e-2), "gap": below(5e-3), "identity": below(1e-12)},
    ),
    Check(
        name="cispo",
        row="C2",
        objective=f"{REGULARIZED}, clipped weights, 2 updates",
        optimum=f"{PI_STAR}, where every advantage is 0",
        run=regularized(
            GrpoConfig(
                preset="cispo",
                k=64,
                steps=250,
                minibatches=1,
                epochs=2,
                optimizer=adam(0.05, "linear"),
                **FREE,
            )
        ),
        gates={"tv": below(2e-2), "kl": below(1e-2), "gap": below(5e-3), "identity": below(1e-12)},
    ),
    Check(
        name="online-dpo",
        row="C2, C3",
        objective="DPO on the policy's own pairs, labels sigmoid(r - r')",
        optimum=f"{PI_STAR}, as RL",
        run=regularized(
            OnlineDpoConfig(
                k=8, beta=BETA, steps=300, missing_eos_penalty=0, optimizer=adam(0.1, "linear")
            ),
            groups=8,
        ),
        gates={
            "tv": below(1e-2),
            "kl": below(5e-3),
            "gap": below(2.5e-3),
            "identity": below(1e-12),
        },
    ),
    Check(
        name="reference-ema",
        row="C2",
        objective="the same, the reference following the policy",
        optimum="after n steps pi* at beta / (1 + n (1 - decay)); in the end argmax r",
        run=following(
            RlooConfig(
                k=64,
                steps=400,
                reference="ema",
                reference_decay=0.996,
                optimizer=adam(0.1, "constant"),
                **FREE,
            )
        ),
        gates={"tv": below(5e-2), "kl": below(2e-2), "tv to pi*": above(0.1)},
    ),
    Check(
        name="dapo",
        row="C11",
        objective="E[r - overlong ramp], clip-higher, deviation, dynamic sampling",
        optimum="the response with the highest r - ramp",
        run=greedy(
            GrpoConfig(
                preset="dapo",
                steps=80,
                batch_prompts=12,
                minibatches=4,
                missing_eos_penalty=4.0,
                overlong_fraction=1.0,
                sampling=SamplingConfig(max_tokens=2),
                optimizer=adam(0.1),
            ),
            groups=8,
        ),
        gates={"tv": below(2e-2), "tv unpriced": above(0.5), "discarded": above(1)},
    ),
    Check(
        name="overlong",
        row="C11",
        objective="E[r - overlong ramp] - beta KL",
        optimum="pi* of the priced reward",
        run=penalized(
            RlooConfig(
                k=64,
                steps=400,
                kl=KL,
                missing_eos_penalty=1.0,
                overlong_fraction=2 / 3,
                sampling=SamplingConfig(max_tokens=3),
                optimizer=adam(0.1, "linear"),
            )
        ),
        gates={
            "tv": below(1e-2),
            "kl": below(5e-3),
            "gap": below(2.5e-3),
            "identity": below(1e-12),
            "tv unpriced": above(0.1),
        },
    ),
    Check(
        name="missing-eos",
        row="C11",
        objective="E[r - price of no EOS] - beta KL",
        optimum="pi* of the priced reward",
        run=penalized(
            RlooConfig(
                k=64, steps=600, kl=KL, missing_eos_penalty=1.0, optimizer=adam(0.1, "linear")
            )
        ),
        gates={
            "tv": below(1e-2),
            "kl": below(5e-3),
            "gap": below(2.5e-3),
            "identity": below(1e-12),
            "tv unpriced": above(0.3),
        },
    ),
    # The KL in the loss: what each choice really optimises.
    Check(
        name="kl-loss-k1",
        row="F1",
        objective="k1 in the loss: no gradient, no regularization",
        optimum="refused by the configuration",
        run=refused(RlooConfig(kl=kl_in_loss("k1"))),
        gates={"reasons": between(1, 1)},
    ),
    Check(
        name="kl-loss-k2",
        row="C7",
        objective="E[r] - beta sum of token KLs, later ones not charged",
        optimum="tree-k2: reference exp(Q / beta) / Z, V = E[Q]",
        run=in_the_loss(grpo_in_loss(kl_in_loss("k2")), by_rule(exact.tree_k2)),
        gates={"tv": below(3e-2), "kl": below(5e-3), "tv to pi*": above(0.1)},
    ),
    Check(
        name="kl-loss-k3",
        row="C7",
        objective="the same with the token's forward KL",
        optimum="tree-k3: beta reference / (lambda - Q), V = E[Q]",
        run=in_the_loss(grpo_in_loss(kl_in_loss("k3")), by_rule(exact.tree_k3)),
        gates={"tv": below(3e-2), "kl": below(5e-3), "tv to pi*": above(0.1)},
    ),
    Check(
        name="kl-loss-k1-cumulative",
        row="C7",
        objective=REGULARIZED,
        optimum=PI_STAR,
        run=in_the_loss(grpo_in_loss(kl_in_loss("k1_cumulative")), by_rule(exact.soft)),
        gates={"tv": below(3e-2), "kl": below(5e-3)},
    ),
    Check(
        name="kl-loss-k3-cumulative",
        row="C7",
        objective=REGULARIZED,
        optimum=PI_STAR,
        run=in_the_loss(grpo_in_loss(kl_in_loss("k3_cumulative")), by_rule(exact.soft)),
        gates={"tv": below(3e-2), "kl": below(5e-3)},
    ),
    Check(
        name="grpo-published",
        row="C7",
        objective="GRPO as published: k3 in the loss, deviation, sequence mean",
        optimum="on one token: beta reference / (lambda - r / deviation of r)",
        run=in_the_loss(
            GrpoConfig(
                preset="grpo",
                steps=250,
                kl=kl_in_loss("k3"),
                missing_eos_penalty=0,
                optimizer=adam(0.1),
            ),
            by_group_deviation,
            problem=exact.one_token(),
        ),
        gates={"tv": below(5e-2), "kl": below(2e-2), "tv to pi*": above(0.1)},
    ),
    Check(
        name="reinforce++-baseline",
        row="C7",
        objective="k2 in the loss, advantages whitened over the step",
        optimum="tree-k2 at beta times their deviation over tokens",
        run=in_the_loss(
            ReinforceConfig(
                preset="reinforce++-baseline",
                k=64,
                steps=250,
                kl=kl_in_loss("k2", coef=1.0),
                missing_eos_penalty=0,
                optimizer=adam(0.1),
            ),
            by_whitening,
        ),
        gates={"tv": below(5e-2), "kl": below(2e-2), "tv to pi*": above(0.1)},
    ),
    Check(
        name="grpo-deviation",
        row="C7",
        objective="KL in the loss, advantages over the group's deviation",
        optimum="pi* at beta times the deviation of r under it",
        run=in_the_loss(
            GrpoConfig(
                k=64,
                steps=500,
                scale="group",
                baseline="group_mean",
                kl=kl_in_loss("k1_cumulative", coef=1.0),
                missing_eos_penalty=0,
                optimizer=adam(0.1),
            ),
            by_deviation,
            problem=exact.tabular(),
        ),
        gates={"tv": below(5e-2), "kl": below(2e-2), "tv to pi*": above(0.1)},
    ),
    # The KL as a budget or a target.
    Check(
        name="kl-hard",
        row="C8",
        objective="E[r] subject to KL <= 1 nat",
        optimum="pi* at the beta whose KL is the budget",
        run=budgeted(controlled("hard", 1.0)),
        gates={
            "kl / budget": between(0.95, 1.03),
            "reward / best": between(0.98, 1 + 1e-9),
            "coef / best": between(0.95, 1.05),
        },
    ),
    Check(
        name="kl-adaptive",
        row="C9",
        objective="E[r] - beta KL, beta steered to KL = 1 nat",
        optimum="the target, on average over steps",
        run=steered(controlled("adaptive", 1.0)),
        gates={"mean kl / target": between(0.95, 1.05)},
    ),
    # Fixed data.
    Check(
        name="dpo",
        row="C3",
        objective="DPO, soft Bradley-Terry labels, uneven pairs",
        optimum=f"{PI_STAR}, as RL",
        run=at_optimum(
            preferring(DpoConfig(beta=BETA, optimizer=EXACT), pairs=some_pairs, updates=500)
        ),
        gates={"tv": below(1e-5), "kl": below(1e-9), "gap": below(1e-9), "identity": below(1e-12)},
    ),
    Check(
        name="dpo-votes",
        row="C4b",
        objective="DPO, 40 drawn labels per pair",
        optimum="tilt by the Bradley-Terry fit of those labels",
        run=from_votes(DpoConfig(beta=BETA, optimizer=EXACT), updates=400),
        gates={"tv": below(1e-4), "kl": below(1e-8)},
    ),
    Check(
        name="reward-then-rloo",
        row="C15",
        objective="a reward model of drawn labels, then RLOO on it",
        optimum="the same tilt, as DPO on those labels",
        run=pipeline(RewardConfig(optimizer=adam(0.05, eps=1e-12)), RLOO, updates=400, groups=16),
        gates={"tv": below(1e-2), "kl": below(5e-3)},
    ),
    Check(
        name="rdpo",
        row="C4d",
        objective="rDPO, a fifth of the labels flipped",
        optimum=f"{PI_STAR}, as without flips",
        run=at_optimum(
            preferring(
                DpoConfig(loss="robust", beta=BETA, label_smoothing=0.2, optimizer=EXACT),
                pairs=some_pairs,
                updates=500,
                flipped=0.2,
            )
        ),
        gates={"tv": below(1e-5), "kl": below(1e-9), "gap": below(1e-9), "identity": below(1e-12)},
    ),
    Check(
        name="cdpo",
        row="C4c",
        objective="cDPO, smoothed labels",
        optimum="tilt by the Bradley-Terry fit of smoothed labels",
        run=at_solution(
            preferring(
                DpoConfig(loss="cdpo", beta=BETA, label_smoothing=0.1, optimizer=EXACT),
                pairs=all_pairs,
                updates=400,
            ),
            smoothed_solution(0.1),
        ),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to pi*": above(0.1)},
    ),
    Check(
        name="dpo-margin",
        row="C3",
        objective="DPO that asks for a margin of 0.5 per pair (ODPO)",
        optimum="tilt by the fit of the labels with that margin",
        run=at_solution(
            preferring(
                DpoConfig(beta=BETA, margin_coef=0.25, optimizer=EXACT),
                pairs=all_pairs,
                updates=400,
                margin=2.0,
            ),
            offset_solution(0.5),
        ),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to pi*": above(0.05)},
    ),
    Check(
        name="ipo",
        row="C3b",
        objective="IPO, independent pairs",
        optimum="reference exp(P(preferred) / tau) / Z",
        run=at_solution(
            preferring(
                DpoConfig(loss="ipo", beta=0.1, optimizer=EXACT), pairs=all_pairs, updates=300
            ),
            ipo_solution(0.1),
        ),
        gates={"tv": below(1e-5), "kl": below(1e-9), "tv to pi*": above(0.05)},
    ),
    Check(
        name="sft",
        row="C1",
        objective="-log pi of demonstrations, token mean",
        optimum="the distribution of the data",
        run=imitating("token_mean", adam(0.3, eps=1e-12), updates=250),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to data": below(1e-4)},
    ),
    Check(
        name="sft-sequence-mean",
        row="C1b",
        objective="-log pi of demonstrations, sequence mean",
        optimum="the data weighted by 1 / length",
        run=imitating("sequence_mean", adam(0.3, eps=1e-12), updates=250),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to data": above(0.1)},
    ),
    Check(
        name="reward",
        row="C6",
        objective="-log sigmoid(r - r'), soft labels",
        optimum="the reward, up to a constant",
        run=rating(RewardConfig(optimizer=adam(0.05, eps=1e-12)), updates=400),
        gates={"error": below(1e-5), "to reward": below(1e-5)},
    ),
    Check(
        name="reward-smoothed",
        row="C4c",
        objective="-log sigmoid(r - r'), smoothed labels",
        optimum="the fit of smoothed labels, not the reward",
        run=rating(RewardConfig(label_smoothing=0.1, optimizer=adam(0.05, eps=1e-12)), updates=400),
        gates={"error": below(1e-5), "to reward": above(0.1)},
    ),
    Check(
        name="best-of-n",
        row="C10",
        objective="best of 2, 4 and 16 samples",
        optimum="F(r)^n - F(r-)^n; KL <= log n - (n - 1) / n",
        run=best_of(2, 4, 16),
        gates={"tv": below(3e-2), "kl - bound": below(0)},
    ),
    # Transformers, without training.
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

SLOW = (
    Check(
        name="kl-hard-tight",
        row="C8",
        objective="E[r] subject to KL <= 0.25 nats",
        optimum="pi* at the beta whose KL is the budget",
        run=budgeted(controlled("hard", 0.25)),
        gates={
            "kl / budget": between(0.95, 1.03),
            "reward / best": between(0.98, 1 + 1e-9),
            "coef / best": between(0.95, 1.05),
        },
    ),
    Check(
        name="grpo-self-inclusive",
        row="C7",
        objective="KL in the loss, baseline the mean of a group of 2",
        optimum="pi* at twice the coefficient",
        run=in_the_loss(
            GrpoConfig(
                k=2,
                steps=1500,
                baseline="group_mean",
                kl=kl_in_loss("k1_cumulative"),
                missing_eos_penalty=0,
                optimizer=adam(0.05),
            ),
            by_coefficient(2.0),
            draw=independent,
            groups=64,
        ),
        gates={"tv": below(5e-2), "kl": below(5e-2), "tv to pi*": above(0.1)},
    ),
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
                run=imitating("token_mean", adam(3e-3), updates=250, new=transformer(network)),
                gates={"tv": below(2e-2), "kl": below(5e-3)},
            ),
            Check(
                name=f"{family}-reward",
                row="C6",
                objective="-log sigmoid(r - r'), soft labels",
                optimum="the reward, up to a constant",
                run=rating(
                    RewardConfig(optimizer=adam(3e-3)),
                    updates=500,
                    new=transformer(network),
                    role=reward_model,
                ),
                gates={"error": below(5e-2)},
            ),
        )
    ),
)
