"""The KL in the loss, where each choice optimises its own; as a budget, and as a target."""

from palate.config.onpolicy import GrpoConfig, ReinforceConfig, RlooConfig
from palate.verify import enumeration as exact
from palate.verify.catalog.settings import (
    PI_STAR,
    REGULARIZED,
    adam,
    controlled,
    grpo_in_loss,
    kl_in_loss,
)
from palate.verify.checks import Check, above, below, between
from palate.verify.onpolicy import (
    budgeted,
    by_coefficient,
    by_deviation,
    by_group_deviation,
    by_rule,
    by_whitening,
    in_the_loss,
    refused,
    steered,
)
from palate.verify.tabular import independent

IN_THE_LOSS = (
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
)

STEERED = (
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
)

DIVERGENCE_SLOW = (
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
)
