"""What an evaluation says: frozen records, written as JSON by a stage and read by the report."""

from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, model_validator

from palate.maths.statistics import Interval
from palate.records import Record, Sampling

Estimate = Annotated[Interval, PlainSerializer(Interval._asdict)]
"""An estimate and its 95 % interval; `{"estimate": .., "low": .., "high": ..}` in JSON."""


class Comparison(Record):
    """A policy against a baseline under one judge, on the same prompts.

    `wins`, `ties` and `losses` count judged pairs; a tie is half a win in every rate. Intervals are
    clustered by prompt. `over_taste` is this win rate minus that under the taste, on the same pairs
    (paired; none for the taste itself). `flip_rate` is the share of pairs whose verdict changed
    when the sides were swapped (0 for a judge that scores one response at a time); `invalid` pairs
    have no verdict.
    """

    policy: str
    baseline: str
    judge: str
    prompts: int
    wins: int
    ties: int
    losses: int
    win_rate: Estimate
    length_controlled: Estimate
    longer_wins: Estimate
    over_taste: Estimate | None = None
    flip_rate: float = 0.0
    invalid: int = 0


class Difference(Record):
    """How much higher the win rate of a policy is than that of another, under one judge.

    Both are against the same baseline answers to the same prompts, so the interval is that of the
    paired difference, clustered by prompt: what the two have in common cancels.
    """

    policy: str
    other: str
    judge: str
    win_rate: Estimate


class JudgeScore(Record):
    """The mean score that a judge gives, in the judge's unit, clustered by prompt."""

    judge: str
    mean: Estimate


class RowResult(Record):
    """One row of the taste: a mean in [0, 1] of n responses (or matched pairs); n = 0: none.

    `change` is the mean difference from the baseline's answers to the same prompts, clustered by
    prompt; none for the baseline, and where the row applied to both on fewer than two prompts.

    >>> RowResult(name="admits uncertainty", value=0.75, n=200).value
    0.75
    """

    name: str
    value: float = Field(ge=0, le=1)
    n: int = Field(ge=0)
    change: Estimate | None = None


class PolicyResult(Record):
    """How one policy behaves on the held-out prompts.

    `kl` is KL(policy || baseline) per response in nats: the k1 estimate under the policy's own
    samples, or for best-of-n the upper bound log n - (n - 1) / n. Lengths are tokens, `eos_rate`
    the share of responses that ended by themselves, `repetition` the share of 4-grams seen before
    in the same response.
    """

    name: str
    responses: int
    comparisons: tuple[Comparison, ...] = ()
    kl: Estimate
    kl_method: Literal["k1", "bound"] = "k1"
    scores: tuple[JudgeScore, ...]
    mean_length: Estimate
    distinct_1: float
    distinct_2: float
    repetition: float
    eos_rate: float
    rows: tuple[RowResult, ...] = ()
    sums_right: RowResult = RowResult(name="sums right", value=0.0, n=0)

    def against_baseline(self, judge: str) -> Comparison | None:
        """The comparison under a judge, if there is one (the baseline has none)."""
        return next((c for c in self.comparisons if c.judge == judge), None)

    def score(self, judge: str) -> Interval | None:
        """The mean score under a judge, if it scored this policy."""
        return next((s.mean for s in self.scores if s.judge == judge), None)


class CalibrationBin(Record):
    """Held-out pairs of similar confidence: mean confidence and the share that was right."""

    predicted: float
    observed: Estimate
    n: int


class RewardModelResult(Record):
    """What a reward model knows about held-out preferences, as fractions of pairs.

    `length_ruler_accuracy` belongs to the better of the rulers "the longer wins" and "the shorter
    wins"; `bayes_accuracy` is what the true taste itself would reach on the noisy labels. The
    calibration error `ece` is compared with that of a perfectly calibrated model of equal
    confidence. `probe` is the accuracy on pairs that differ in one row of the taste.
    """

    accuracy: Estimate
    length_ruler_accuracy: float
    bayes_accuracy: float | None = None
    ece: float
    ece_null_mean: float
    ece_null_p95: float
    brier: float
    log_loss: float
    bins: tuple[CalibrationBin, ...]
    n_pairs: int
    n_prompts: int
    probe: tuple[RowResult, ...] = ()


class BestOfN(Record):
    """Best of n baseline samples by the reward model: a KL bound in nats, and mean scores."""

    n: int = Field(ge=1)
    kl_bound: float
    scores: tuple[JudgeScore, ...]

    def score(self, judge: str) -> Interval | None:
        """The mean score under a judge, if it scored the samples."""
        return next((s.mean for s in self.scores if s.judge == judge), None)


class AnswerScore(Record):
    """What a judge gave one response."""

    judge: str
    value: float


class Answer(Record):
    """One policy's response to a sample prompt."""

    policy: str
    text: str
    scores: tuple[AnswerScore, ...] = ()

    def score(self, judge: str) -> float | None:
        """What a judge gave it, if that judge did."""
        return next((score.value for score in self.scores if score.judge == judge), None)


class Sample(Record):
    """A held-out prompt and what every policy wrote, for people to read."""

    prompt: str
    answers: tuple[Answer, ...]


class Settings(Record):
    """How the numbers were made."""

    prompts: str
    num_prompts: int
    k: int
    sampling: Sampling


class Evaluation(Record):
    """Everything an evaluation says.

    `taste` is the judge that counts as the truth and `proxy` the reward model that was optimised
    (empty: none). `policies` begins with the baseline. `seeds` are the training runs' seeds, as
    far as they are known: models from elsewhere tell none.
    """

    baseline: str
    taste: str
    proxy: str = ""
    policies: tuple[PolicyResult, ...] = Field(min_length=1)
    differences: tuple[Difference, ...] = ()
    reward_model: RewardModelResult | None = None
    best_of_n: tuple[BestOfN, ...] = ()
    samples: tuple[Sample, ...] = ()
    settings: Settings
    seeds: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _baseline_comes_first(self) -> Self:
        names = [policy.name for policy in self.policies]
        if names[0] != self.baseline or len(set(names)) < len(names):
            raise ValueError(f"policies have different names, {self.baseline} first; got {names}")
        return self

    @property
    def reference(self) -> PolicyResult:
        """The baseline's own result."""
        return self.policies[0]

    @property
    def contenders(self) -> tuple[PolicyResult, ...]:
        """Every policy but the baseline, in order."""
        return self.policies[1:]

    @property
    def measured_rows(self) -> tuple[RowResult, ...]:
        """The rows of the taste that applied to some response of the baseline."""
        return tuple(row for row in self.reference.rows if row.n)

    def differences_of(self, policy: str, judge: str) -> tuple[Difference, ...]:
        """How much higher the win rate of a policy is than that of each other contender."""
        about = [d for d in self.differences if d.judge == judge]
        turned = [
            Difference(
                policy=d.other,
                other=d.policy,
                judge=judge,
                win_rate=Interval(-d.win_rate.estimate, -d.win_rate.high, -d.win_rate.low),
            )
            for d in about
        ]
        return tuple(d for d in (*about, *turned) if d.policy == policy)

    @property
    def judges(self) -> tuple[str, ...]:
        """The taste and, when there is one, the reward model."""
        return (self.taste, self.proxy) if self.proxy else (self.taste,)
