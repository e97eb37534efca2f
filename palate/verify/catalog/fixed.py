"""Objectives on fixed data: demonstrations, pairs, scores."""

from palate.config.stages import DpoConfig, RewardConfig
from palate.verify.catalog.settings import EXACT, PI_STAR, RLOO, adam, reaching
from palate.verify.checks import Check, above, below, between
from palate.verify.offline import (
    BETA,
    all_pairs,
    at_optimum,
    at_solution,
    best_of,
    expert_iteration,
    from_votes,
    hinge_excess,
    imitating,
    pipeline,
    preferring,
    rating,
    some_pairs,
)
from palate.verify.solutions import (
    ipo_solution,
    offset_solution,
    orpo_solution,
    simpo_solution,
    smoothed_solution,
    with_sft_solution,
)

FIXED = (
    Check(
        name="dpo",
        row="C3",
        objective="DPO, soft Bradley-Terry labels, uneven pairs",
        optimum=f"{PI_STAR}, as RL",
        run=at_optimum(
            preferring(DpoConfig(beta=BETA, optimizer=EXACT), pairs=some_pairs, updates=500)
        ),
        gates=reaching(tv=1e-5, kl=1e-9, gap=1e-9),
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
        gates=reaching(tv=1e-5, kl=1e-9, gap=1e-9),
    ),
    Check(
        name="dpo-flipped",
        row="C4d",
        objective="DPO, a fifth of the labels flipped and nothing done about it",
        optimum="tilt by the Bradley-Terry fit of those labels, far from pi*",
        run=at_solution(
            preferring(
                DpoConfig(beta=BETA, optimizer=EXACT), pairs=all_pairs, updates=400, flipped=0.2
            ),
            smoothed_solution(0.2),
        ),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to pi*": above(0.1)},
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
        name="dpo-sft",
        row="C3",
        objective="DPO plus 0.2 times the chosen responses' mean NLL",
        optimum="the minimum of both, found by L-BFGS on probabilities",
        run=at_solution(
            preferring(
                DpoConfig(beta=BETA, sft_coef=0.2, optimizer=EXACT), pairs=all_pairs, updates=400
            ),
            with_sft_solution(BETA, 0.2),
        ),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to pi*": above(0.05)},
    ),
    Check(
        name="hinge",
        row="C3",
        objective="hinge loss of DPO's margin (SLiC), soft labels",
        optimum="the least hinge loss, found by a linear program",
        run=hinge_excess(
            preferring(
                DpoConfig(loss="hinge", beta=BETA, optimizer=EXACT), pairs=all_pairs, updates=600
            )
        ),
        gates={"excess": between(-1e-9, 1e-3)},
    ),
    Check(
        name="simpo",
        row="C3",
        objective="SimPO: mean log-probabilities, margin, no reference",
        optimum="exp(|y| (s / beta + c)), s the fit with the margin",
        run=at_solution(
            preferring(
                DpoConfig(loss="simpo", beta=2.0, simpo_gamma=0.5, optimizer=EXACT),
                pairs=all_pairs,
                updates=600,
            ),
            simpo_solution(2.0, 0.5),
        ),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to pi*": above(0.1)},
    ),
    Check(
        name="orpo",
        row="C3",
        objective="ORPO: odds ratio plus the chosen responses' mean NLL",
        optimum="the minimum of both, found by L-BFGS on probabilities",
        run=at_solution(
            preferring(
                DpoConfig(loss="orpo", orpo_coef=0.5, optimizer=EXACT),
                pairs=all_pairs,
                updates=600,
            ),
            orpo_solution(0.5),
        ),
        gates={"tv": below(1e-4), "kl": below(1e-8), "tv to pi*": above(0.1)},
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
    Check(
        name="expert-iteration",
        row="C12",
        objective="SFT on the best of 4 samples (rejection sampling)",
        optimum="F(r)^4 - F(r-)^4 of the reference",
        run=expert_iteration(4, adam(0.3, eps=1e-12), updates=80),
        gates={"tv": below(4e-2), "tv to reference": above(0.3)},
    ),
)
