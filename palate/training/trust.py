"""The trust record of an on-policy run: identities that only a fault breaks, measured on itself.

On the first step, N1: probabilities sum to one; N3: the sampler's log-probabilities are the
learner's; I7: the ratio is one before the first update. On the last one, whose rollouts are kept,
M1: the metrics are those of the rollouts as they are stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal

import torch

from palate.algorithms.onpolicy import Algorithm
from palate.batches.experience import Experience, Rollouts
from palate.batches.groups import token_group
from palate.interfaces import Loss, Outputs
from palate.maths.kl import k1
from palate.maths.surrogates import token_ratio
from palate.models.precision import Precision
from palate.models.roles import Role
from palate.records import Record
from palate.records.trust import TrustCheck, TrustRecord
from palate.store.runs import TRUST, StageDir
from palate.training.improve import Step
from palate.training.learner import LocalLearner, read_all

ROLLOUTS = "rollouts.jsonl"

_ENUMERABLE = 2**14
"""Larger vocabularies are not enumerated: the cost grows with their square."""

Identity = Literal["N1", "N3", "I7"]

_GATES: dict[Precision, Mapping[Identity, float]] = {
    "fp32": {"N1": 1e-5, "N3": 1e-4, "I7": 1e-4},
    "bf16": {"N1": 0.05, "N3": 0.1, "I7": 0.1},
}
"""What rounding explains: bf16 keeps eight bits of a logit, and layouts round differently."""

_RECOMPUTED = 1e-5


class StoredRollout(Record):
    """One response of the last step as it stands in `rollouts.jsonl`; nats per token.

    `logprobs` are the policy's before the step's updates.
    """

    prompt_id: str
    prompt: str
    response: str
    token_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    logprobs: tuple[float, ...]
    ref_logprobs: tuple[float, ...]
    score: float
    finished: bool


class Witness:
    """Watches a loop and writes what it saw to the stage's folder.

    A run that resumes behind the first step keeps what that one showed.
    """

    def __init__(
        self, learner: LocalLearner, folder: StageDir, *, vocabulary: int, precision: Precision
    ) -> None:
        self.learner, self.folder = learner, folder
        self.vocabulary = vocabulary
        self.precision: Precision = precision
        self._first_update: int | None = None
        self._gaps: list[float] = []
        self._clipped: list[float] = []

    def watching(self, algorithm: Algorithm) -> Algorithm:
        """The algorithm, whose loss is overheard until the first update."""

        def loss(
            outputs: Outputs, experience: Experience, config: object, *, kl_coef: float
        ) -> Loss:
            made = algorithm.loss(outputs, experience, config, kl_coef=kl_coef)
            if self._first_update is None:
                self._first_update = self.learner.updates
            if self.learner.updates == self._first_update:
                self._gaps.append(ratio_gap(outputs, experience))
                clipped = made.metrics.means.get("policy/clip_fraction")
                self._clipped += [clipped.value] if clipped else []
            return made

        return replace(algorithm, loss=loss)

    def after(self, done: Step, step: int, total: int) -> None:
        """A step is done and its metrics are logged."""
        path = self.folder.path / TRUST
        if step == 0 or not path.is_file():
            self._write(self._first(done, step))
        if step + 1 == total:
            self.folder.write_jsonl(ROLLOUTS, stored(done))
            record, last = self.folder.trust(), self._last(step)
            assert record is not None
            # A run that was killed behind its last step has this check already.
            others = tuple(check for check in record.checks if check.claim != last.claim)
            self._write(record.model_copy(update={"checks": (*others, last)}))

    def _write(self, record: TrustRecord) -> None:
        self.folder.write_json(TRUST, record.model_dump(mode="json"))

    def _first(self, done: Step, step: int) -> TrustRecord:
        gates, left_out = _GATES[self.precision], ""
        values: list[tuple[Identity, str, float]] = [
            ("N3", "the sampler's log-probabilities are the learner's", mismatch(done.rollouts)),
            ("I7", "the ratio is one before the first update", largest(self._gaps)),
        ]
        checks = [TrustCheck(row=r, claim=c, value=v, gate=gates[r]) for r, c, v in values]
        if self._clipped:
            claim, value = "no ratio is clipped before the first update", largest(self._clipped)
            checks.append(TrustCheck(row="I7", claim=claim, value=value, gate=0.0))
        if self.vocabulary <= _ENUMERABLE:
            gap = probability_gap(
                self.learner.role, probes(done), self.vocabulary, budget=self.learner.budget
            )
            claim = "probabilities of all tokens sum to one"
            checks.insert(0, TrustCheck(row="N1", claim=claim, value=gap, gate=gates["N1"]))
        else:
            left_out = f"N1: {self.vocabulary:,} tokens are too many to enumerate"
        return TrustRecord(
            step=step, precision=self.precision, checks=tuple(checks), left_out=left_out
        )

    def _last(self, step: int) -> TrustCheck:
        with (self.folder.path / ROLLOUTS).open(encoding="utf-8") as file:
            rows = [StoredRollout.model_validate_json(line) for line in file]
        logged = next(line for line in self.folder.metrics() if line["step"] == step)
        claim = "metrics are those of the stored rollouts"
        value = metrics_gap(rows, logged)
        return TrustCheck(row="M1", claim=claim, value=value, gate=_RECOMPUTED)


def largest(values: Sequence[float]) -> float:
    """The largest of some numbers (0 of none); what is not a number counts as the largest."""
    return float(torch.tensor([0.0, *values], dtype=torch.float64).max())


def probability_gap(
    role: Role, contexts: Sequence[tuple[int, ...]], vocabulary: int, *, budget: int
) -> float:
    """The largest |sum of the probabilities of every next token - 1| behind some token ids."""
    gaps = []
    for context in contexts:
        size = max(1, budget // (len(context) + 1))
        groups = [
            token_group("probe", context, tuple((v,) for v in range(start, end)))
            for start in range(0, vocabulary, size)
            for end in (min(start + size, vocabulary),)
        ]
        logprobs = read_all(role, groups, budget=budget).logprobs
        gaps.append(abs(float(logprobs.double().exp().sum()) - 1))
    return largest(gaps)


def probes(done: Step) -> list[tuple[int, ...]]:
    """The shortest prompt of a step, and the same with the first half of its first response."""
    group = min(done.tokens, key=lambda one: len(one.prompt))
    response = group.responses[0]
    return [group.prompt, group.prompt + response[: len(response) // 2]]


def mismatch(rollouts: Rollouts) -> float:
    """The largest |sampler's - learner's log-probability| of a sampled token, nats."""
    gap = (rollouts.sampler_logprobs - rollouts.old_logprobs).abs()
    return float(torch.where(rollouts.mask, gap, 0.0).max())


def ratio_gap(outputs: Outputs, experience: Experience) -> float:
    """The largest |ratio - 1| of a token."""
    with torch.no_grad():
        ratio = token_ratio(outputs.logprobs, experience.old_logprobs, experience.mask)
    return float((ratio - 1).abs().max())


def stored(done: Step) -> list[StoredRollout]:
    """All responses of a step, in order."""
    rollouts = done.rollouts
    columns = zip(
        rollouts.mask.sum(dim=1).tolist(),
        rollouts.sampler_logprobs.tolist(),
        rollouts.old_logprobs.tolist(),
        rollouts.ref_logprobs.tolist(),
        rollouts.scores.tolist(),
        rollouts.finished.tolist(),
        strict=True,
    )
    texts = chain.from_iterable(((g.prompt, r) for r in g.responses) for g in done.groups)
    return [
        StoredRollout(
            prompt_id=prompt.id,
            prompt=prompt.text,
            response=response.text,
            token_ids=response.token_ids,
            sampler_logprobs=sampler[:length],
            logprobs=own[:length],
            ref_logprobs=reference[:length],
            score=score,
            finished=finished,
        )
        for (prompt, response), (length, sampler, own, reference, score, finished) in zip(
            texts, columns, strict=True
        )
    ]


def metrics_gap(rows: Sequence[StoredRollout], logged: Mapping[str, float]) -> float:
    """The largest |recomputed - logged| of mean score, mean k1 per response and mean length.

    A fraction of the logged value where that is above one.
    """
    kls = [
        k1(torch.tensor([row.logprobs]).double(), torch.tensor([row.ref_logprobs]).double()).sum()
        for row in rows
    ]
    recomputed = {
        "reward/score": sum(row.score for row in rows),
        "kl/policy_reference": float(sum(kls)),
        "response/length": sum(len(row.token_ids) for row in rows),
    }
    return largest(
        [
            abs(total / len(rows) - logged[name]) / max(1.0, abs(logged[name]))
            for name, total in recomputed.items()
        ]
    )
