"""`evaluate`: policies against a baseline on held-out prompts, by the true judge and the proxy."""

from collections.abc import Sequence

from palate.batches.groups import TokenGroup
from palate.config.stages import EvaluateConfig
from palate.evaluation.policies import mean_score, sequence_kl, writing
from palate.evaluation.results import (
    Evaluation,
    PolicyResult,
    RewardModelResult,
    RowResult,
    Settings,
)
from palate.evaluation.rewards import bayes_accuracy, row_probe
from palate.evaluation.winrate import Pairs, compare
from palate.interfaces import Scorer
from palate.maths.seeds import seed
from palate.records import Group, Response
from palate.stages import sources
from palate.stages.answers import (
    NO_ROWS,
    Answers,
    best_of,
    best_of_each,
    differences,
    first,
    over_taste,
    side_by_side,
    world_rows,
)
from palate.stages.context import EVALUATION, HELD_OUT, PROMPTS, StageContext
from palate.stages.encoding import asked, encoded
from palate.stages.policies import OpenPolicy, open_policy, open_scorer, same_vocabulary
from palate.stages.reward import measurable, measured
from palate.stages.sample import sampling_record
from palate.store.errors import DataError
from palate.store.formats import read_preferences
from palate.store.runs import StageDir
from palate.training.learner import read_all
from palate.worlds import cafe

_PROBE_PAIRS = 240


class Evaluator:
    """One evaluation: its prompts, its judges and its baseline, opened once."""

    def __init__(self, config: EvaluateConfig, context: StageContext) -> None:
        self.config, self.context = config, context
        self.baseline = self._open(config.baseline)
        source = context.data(config.prompts, PROMPTS)
        prompts = sources.prompts(context, config.prompts, limit=config.limit)
        for judge in (config.judge, config.reward_model):
            prompts = sources.verifiable(prompts, judge, context, source=source)
        self.prompts = encoded(
            context,
            prompts,
            asked,
            self.baseline.encoder,
            max_response_tokens=config.sampling.max_tokens,
            source=source,
        ).rows
        self.taste = self._scorer(config.judge)
        self.proxy = self._scorer(config.reward_model) if config.reward_model else None
        self.judges = [self.taste, *([self.proxy] if self.proxy else [])]

    def _open(self, reference: str) -> OpenPolicy:
        config = self.config
        return open_policy(self.context, reference, prompt=config.prompt, compute=config.compute)

    def _scorer(self, spec: str) -> Scorer:
        return open_scorer(
            self.context,
            spec,
            prompt=self.config.prompt,
            compute=self.config.compute,
            policy=self.baseline,
        )

    def respond(self, reference: str, policy: OpenPolicy, k: int) -> list[Group]:
        """k responses of a policy to every prompt."""
        settings = self.config.sampling
        sampling = sampling_record(settings)
        name = reference.removeprefix("@")
        drawn = policy.sampler(settings).sample(
            [policy.encoder.encode_prompt(prompt) for prompt in self.prompts],
            k,
            seed=seed(self.context.seed, "evaluate", name),
        )
        return [
            Group(
                prompt=prompt,
                responses=tuple(
                    policy.encoder.response(r, policy=name, sampling=sampling) for r in rollouts
                ),
            )
            for prompt, rollouts in zip(self.prompts, drawn, strict=True)
        ]

    def answers(self, reference: str, policy: OpenPolicy, groups: list[Group]) -> Answers:
        """Responses with their scores and the policy's KL from the baseline on them."""
        tokens = [policy.encoder.encode_group(group) for group in groups]
        prompt_ids = [group.prompt.id for group in groups for _ in group.responses]
        return Answers(
            name=reference.removeprefix("@"),
            groups=groups,
            scores={judge.name: judge.score(groups) for judge in self.judges},
            kl=sequence_kl(
                self._logprobs(policy, tokens), self._logprobs(self.baseline, tokens), prompt_ids
            ),
        )

    def _logprobs(self, policy: OpenPolicy, tokens: Sequence[TokenGroup]) -> list[float]:
        """[response] log pi(response | prompt) at the sampling temperature, nats."""
        role = policy.role(temperature=self.config.sampling.temperature)
        budget = self.config.compute.micro_batch_tokens
        return read_all(role, tokens, budget=budget).logprobs.double().sum(dim=1).tolist()

    def written_by(self, reference: str) -> Answers:
        """What a contender writes; its network is let go before the next one is opened."""
        policy = self._open(reference)
        if not same_vocabulary(policy.tokenizer, self.baseline.tokenizer):
            raise DataError(
                f"its tokenizer is not that of the baseline {self.config.baseline}, and the KL "
                "compares token by token",
                source=reference,
                remedy="evaluate models of one tokenizer together",
            )
        return self.answers(reference, policy, self.respond(reference, policy, self.config.k))

    def result(self, own: Answers, baseline: Answers | None) -> PolicyResult:
        """Everything that is said about one policy."""
        wrote, prompt_ids = writing(own.groups), own.prompt_ids
        world = world_rows(own, baseline) if self.taste.name == "cafe" else NO_ROWS
        comparisons = []
        if baseline is not None:
            pairs = Pairs(
                policy=own.name,
                baseline=baseline.name,
                prompt_ids=prompt_ids,
                policy_lengths=own.lengths,
                baseline_lengths=baseline.lengths,
            )
            comparisons = [
                compare(own.flat(j.name), baseline.flat(j.name), pairs, judge=j.name)
                for j in self.judges
            ]
            comparisons[1:] = [
                c.model_copy(update={"over_taste": over_taste(own, baseline, c, self.taste.name)})
                for c in comparisons[1:]
            ]
        return PolicyResult(
            name=own.name,
            responses=wrote.responses,
            comparisons=tuple(comparisons),
            kl=own.kl,
            scores=tuple(
                mean_score(own.flat(j.name), prompt_ids, judge=j.name) for j in self.judges
            ),
            mean_length=wrote.mean_length,
            distinct_1=wrote.distinct_1,
            distinct_2=wrote.distinct_2,
            repetition=wrote.repetition,
            eos_rate=wrote.eos_rate,
            rows=world.rows,
            sums_right=world.sums_right,
        )


def run(config: EvaluateConfig, context: StageContext) -> dict[str, float]:
    """Write evaluation.json; the summary holds the win rates."""
    evaluator = Evaluator(config, context)
    opened = evaluator.baseline
    many = max(config.k, config.best_of)
    pool = evaluator.answers(
        config.baseline, opened, evaluator.respond(config.baseline, opened, many)
    )
    baseline = first(pool, config.k)
    results, written = [evaluator.result(baseline, None)], [baseline]
    if config.best_of:
        selector = (evaluator.proxy or evaluator.taste).name
        best = best_of(pool, config.best_of, config.k, selector=selector)
        chosen = evaluator.result(best, baseline)
        results.append(chosen.model_copy(update={"kl_method": "bound"}))
        written.append(best)
    for number, reference in enumerate(config.models):
        own = evaluator.written_by(reference)
        results.append(evaluator.result(own, baseline))
        written.append(own)
        context.monitor.log(number, len(config.models), {})
    evaluation = Evaluation(
        baseline=baseline.name,
        taste=evaluator.taste.name,
        proxy=evaluator.proxy.name if evaluator.proxy else "",
        policies=tuple(results),
        differences=differences(written, [judge.name for judge in evaluator.judges]),
        reward_model=reward_model_result(evaluator),
        best_of_n=best_of_each(pool, selector=evaluator.proxy.name) if evaluator.proxy else (),
        samples=side_by_side(written),
        settings=Settings(
            prompts=config.prompts,
            num_prompts=len(evaluator.prompts),
            k=config.k,
            sampling=sampling_record(config.sampling),
        ),
        seeds=training_seeds(config, context),
    )
    context.folder.write_json(EVALUATION, evaluation.model_dump(mode="json"))
    return summary(evaluation)


def training_seeds(config: EvaluateConfig, context: StageContext) -> tuple[int, ...]:
    """The seeds of the stages that trained the evaluated policies, where this run has them."""
    named = [m.removeprefix("@") for m in (config.baseline, *config.models) if m.startswith("@")]
    return tuple(StageDir(context.artifacts[name]).manifest().seed for name in named)


def summary(evaluation: Evaluation) -> dict[str, float]:
    """Win rates under the true judge, with their intervals, and what else is required of a run."""
    values: dict[str, float] = {}
    for policy in evaluation.policies:
        if policy.sums_right.n:
            values[f"{policy.name}/sums_right"] = policy.sums_right.value
        values[f"{policy.name}/length"] = policy.mean_length.estimate
        values[f"{policy.name}/kl"] = policy.kl.estimate
        comparison = policy.against_baseline(evaluation.taste)
        if comparison:
            values[f"{policy.name}/win_rate"] = comparison.win_rate.estimate
            values[f"{policy.name}/win_rate_low"] = comparison.win_rate.low
    if evaluation.reward_model:
        values["reward_model/accuracy"] = evaluation.reward_model.accuracy.estimate
        values["reward_model/bayes"] = evaluation.reward_model.bayes_accuracy or 0.0
    return values


def reward_model_result(evaluator: Evaluator) -> RewardModelResult | None:
    """Held-out accuracy of the reward model, with the limit of noisy labels where it is known."""
    config, proxy = evaluator.config, evaluator.proxy
    if proxy is None or not config.preferences:
        return None
    path = evaluator.context.data(config.preferences, HELD_OUT)
    context = evaluator.context
    rows = list(read_preferences(path, context.reading(path), bad_rows=context.bad_rows))
    if not measurable(rows):
        return None
    groups = [row.group for row in rows]
    lengths = [tuple(len(r.token_ids) or len(r.text.split()) for r in g.responses) for g in groups]
    scores = proxy.score(groups)
    limit, probe = None, ()
    if evaluator.taste.name == "cafe":
        true = evaluator.taste.score(groups)
        differences = [
            true[i][p.winner] - true[i][p.loser]
            for i, row in enumerate(rows)
            for p in row.preferences
            if p.probability > 0.5
        ]
        limit = bayes_accuracy(differences, noise=config.annotator_noise)
        probe = _probe(proxy)
    return measured(
        rows,
        scores,
        lengths,
        seed=evaluator.context.seed,
        bayes_accuracy=limit,
        probe=probe,
    )


def _probe(proxy: Scorer) -> tuple[RowResult, ...]:
    """Accuracy on pairs that differ in one row of the taste alone."""
    pairs = cafe.probe_pairs(_PROBE_PAIRS, seed=0)
    groups = [
        Group(prompt=prompt, responses=(Response(text=better), Response(text=worse)))
        for _, prompt, better, worse in pairs
    ]
    scores = proxy.score(groups)
    return row_probe([name for name, *_ in pairs], [s[0] for s in scores], [s[1] for s in scores])
