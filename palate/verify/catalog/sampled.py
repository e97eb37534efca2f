"""Objectives on sampled data, the KL in the reward."""

from palate.config.common import SamplingConfig
from palate.config.onpolicy import (
    GrpoConfig,
    OnlineDpoConfig,
    PpoConfig,
    ReinforceConfig,
    RlooConfig,
)
from palate.verify.catalog.settings import FREE, KL, PI_STAR, PPO, REGULARIZED, RLOO, adam, reaching
from palate.verify.checks import Check, above, below
from palate.verify.onpolicy import following, greedy, penalized, regularized, with_values
from palate.verify.solutions import BETA

SAMPLED = (
    Check(
        name="rloo",
        row="C2",
        objective=REGULARIZED,
        optimum=PI_STAR,
        run=regularized(RLOO, groups=16),
        gates=reaching(tv=5e-3, kl=1e-3, gap=5e-4) | {"logged": below(1e-2)},
    ),
    Check(
        name="rloo-constant-lr",
        row="C2",
        objective=f"{REGULARIZED}, noise and rate never lowered",
        optimum=f"{PI_STAR}, where the noise vanishes",
        run=regularized(RlooConfig(k=64, steps=300, optimizer=adam(0.1, "constant"), **FREE)),
        gates=reaching(tv=2e-2, kl=2e-3, gap=1e-3),
    ),
    Check(
        name="grpo",
        row="C2",
        objective=f"{REGULARIZED}, leave-one-out groups of 8 (the default)",
        optimum=PI_STAR,
        run=regularized(GrpoConfig(k=8, steps=400, optimizer=adam(0.1), **FREE), groups=8),
        gates=reaching(tv=5e-3, kl=1e-3, gap=5e-4),
    ),
    Check(
        name="dr-grpo",
        row="C2",
        objective=f"{REGULARIZED}, group mean, no deviation",
        optimum=PI_STAR,
        run=regularized(GrpoConfig(preset="dr_grpo", k=64, steps=400, optimizer=adam(0.1), **FREE)),
        gates=reaching(tv=5e-3, kl=1e-3, gap=5e-4),
    ),
    Check(
        name="ppo",
        row="C2, C13",
        objective=f"{REGULARIZED}, GAE and critic",
        optimum=f"{PI_STAR}; V = beta log Z",
        run=with_values(PPO),
        gates=reaching(tv=1e-2, kl=5e-3, gap=1e-3)
        | {
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
        gates=reaching(tv=2e-2, kl=1e-2, gap=5e-3),
    ),
    Check(
        name="reinforce",
        row="C2",
        objective=f"{REGULARIZED}, mean of the batch as baseline",
        optimum=PI_STAR,
        run=regularized(ReinforceConfig(k=128, steps=300, optimizer=adam(0.1, "linear"), **FREE)),
        gates=reaching(tv=5e-2, kl=5e-3, gap=5e-3),
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
        gates=reaching(tv=5e-2, kl=2e-2, gap=1e-2),
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
        gates=reaching(tv=2e-2, kl=1e-2, gap=5e-3),
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
        gates=reaching(tv=2e-2, kl=1e-2, gap=5e-3),
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
        gates=reaching(tv=1e-2, kl=5e-3, gap=2.5e-3),
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
        gates=reaching(tv=1e-2, kl=5e-3, gap=2.5e-3) | {"tv unpriced": above(0.1)},
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
        gates=reaching(tv=1e-2, kl=5e-3, gap=2.5e-3) | {"tv unpriced": above(0.3)},
    ),
)
