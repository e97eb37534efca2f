"""The online loop: rewards on their own rows, whole passes, budgets kept, resuming to the bit."""

from dataclasses import replace

import pytest
import torch

from palate.algorithms.onpolicy import ALGORITHMS
from palate.config.common import KlConfig, OptimizerConfig
from palate.config.onpolicy import GrpoConfig, PpoConfig, ReinforceConfig, RlooConfig
from palate.training.checkpoints import Checkpoints
from palate.training.order import split
from palate.verify import enumeration
from palate.verify.loops import History, online_loop
from palate.verify.worlds import tabular_world, tiny_gpt2, tiny_llama, transformer_world
from tests.training.stops import Interrupted, StopsAt

RATE = OptimizerConfig(lr=0.05)
REST = OptimizerConfig(lr=0.0)
EMA = RlooConfig(
    k=4, steps=6, reference="ema", reference_decay=0.7, missing_eos_penalty=0, optimizer=RATE
)


def run(world, config, folder, monitor=None, every=3):
    loop = online_loop(world, ALGORITHMS[config.stage], config, seed=5)
    history = monitor or History()
    checkpoints = Checkpoints(folder, every=every)
    done = [None]
    loop.run(
        world.prompts,
        monitor=history,
        checkpoints=checkpoints,
        after=lambda step, number, total: done.append(step),
    )
    return loop, done[-1], history


def test_a_pass_is_split_into_parts_that_differ_by_one_and_hold_every_row_once():
    parts = split(11, parts=4, run_seed=3)
    assert [len(part) for part in parts] == [3, 3, 3, 2]
    assert sorted(row for part in parts for row in part) == list(range(11))
    assert parts != split(11, parts=4, run_seed=4)
    assert [len(part) for part in split(2, parts=5, run_seed=0)] == [1, 1]


def test_minibatches_that_do_not_divide_the_groups_make_no_extra_pass(tmp_path):
    """Five groups in four minibatches are parts of 2, 1, 1, 1, twice: eight updates a step."""
    problem = enumeration.problem(
        enumeration.tree(vocabulary=3, eos=2, length=2), prompts=5, beta=0.5, seed=0
    )
    world = tabular_world(problem)
    config = GrpoConfig(k=2, steps=3, epochs=2, minibatches=4, optimizer=RATE)
    loop, _, _ = run(world, config, tmp_path)
    assert loop.actors.policy.updates == 3 * 2 * 4 == loop.actors.policy.total_updates


def test_a_moving_reference_is_the_average_of_the_policies_after_each_step(tmp_path):
    world = tabular_world(enumeration.tabular())
    average = world.policy.table.detach().clone()
    loop = online_loop(world, ALGORITHMS["rloo"], EMA, seed=5)
    for step in range(3):
        loop.step(world.prompts, step)
        average = 0.7 * average + 0.3 * world.policy.table.detach()
        torch.testing.assert_close(world.reference.table.detach(), average)
    assert not torch.equal(average, world.policy.table.detach())


def test_resuming_with_a_moving_reference_equals_never_stopping(tmp_path):
    whole = tabular_world(enumeration.tabular())
    _, _, expected = run(whole, EMA, tmp_path / "whole")
    broken = tabular_world(enumeration.tabular())
    with pytest.raises(Interrupted):
        run(broken, EMA, tmp_path / "broken", StopsAt(4))
    resumed = tabular_world(enumeration.tabular())
    _, _, rest = run(resumed, EMA, tmp_path / "broken")
    assert torch.equal(resumed.policy.table, whole.policy.table)
    assert torch.equal(resumed.reference.table, whole.reference.table)
    assert not torch.equal(resumed.reference.table.detach(), enumeration.tabular().ref_logits)
    assert rest.values == {name: values[3:] for name, values in expected.values.items()}


def half_dead():
    """Eight prompts; to those with even numbers every response is equally good."""
    problem = enumeration.problem(
        enumeration.tree(vocabulary=4, eos=3, length=2), prompts=8, beta=0.5, seed=1
    )
    reward = problem.reward.clone()
    reward[::2] = 0.25
    return tabular_world(replace(problem, reward=reward))


def dapo(**choices):
    chosen = {"resample_rounds": 9, "batch_prompts": 4, "minibatches": 1, "steps": 4} | choices
    return GrpoConfig(
        preset="dapo", overlong_fraction=0, missing_eos_penalty=0, optimizer=RATE, **chosen
    )


def test_groups_of_equal_rewards_give_way_to_fresh_prompts(tmp_path):
    world = half_dead()
    config = dapo()
    loop = online_loop(world, ALGORITHMS["grpo"], config, seed=5)
    for step in range(config.steps):
        done, values = loop.step(world.prompts, step)
        numbers = [world.index.prompts[group.prompt] for group in done.tokens]
        assert sorted(numbers) == [1, 3, 5, 7]
        assert values["group/dead_fraction"] == 0
        assert 0 <= values["group/discarded"] <= 4


def test_without_rounds_dead_groups_stay_and_are_counted(tmp_path):
    _, last, history = run(half_dead(), dapo(resample_rounds=0), tmp_path)
    assert len(last.groups) == 4
    assert sum(history.values["group/dead_fraction"]) == 4 * 0.5
    assert "group/discarded" not in history.values


def test_resampling_ends_when_no_prompt_is_left(tmp_path):
    _, last, history = run(half_dead(), dapo(batch_prompts=8, steps=1), tmp_path)
    assert len(last.groups) == 8
    assert history.values["group/discarded"] == [0]
    assert history.values["group/dead_fraction"] == [0.5]


def test_groups_of_one_log_no_dead_groups(tmp_path):
    config = ReinforceConfig(k=1, steps=1, optimizer=RATE)
    _, _, history = run(half_dead(), config, tmp_path)
    assert "group/dead_fraction" not in history.values


@pytest.mark.parametrize("network", [tiny_llama, tiny_gpt2])
def test_every_row_keeps_its_own_reward_prompt_and_log_probabilities(network):
    world = transformer_world(network(0), enumeration.text_problem())
    config = GrpoConfig(k=5, missing_eos_penalty=0, kl=KlConfig(coef=0))
    loop = online_loop(world, ALGORITHMS["grpo"], config, seed=5)
    asked = [world.prompts[i] for i in (2, 0, 1, 2, 0)]
    done = loop.roll_out(asked, 11)
    prompts, responses = world.index.places(done.tokens)
    assert prompts.view(5, 5)[:, 0].tolist() == [2, 0, 1, 2, 0]
    assert len({tuple(row) for row in responses.view(5, 5).tolist()}) == 5
    scores = world.reward[prompts, responses].float()
    assert torch.equal(done.rollouts.scores, scores)
    assert done.rollouts.group_index.tolist() == [i for i in range(5) for _ in range(5)]
    whole = world.logp()[prompts, responses]
    torch.testing.assert_close(done.rollouts.old_logprobs.double().sum(1), whole, atol=1e-5, rtol=0)
    table = scores.view(5, 5)
    others = (table.sum(1, keepdim=True) - table) / 4
    torch.testing.assert_close(done.experience.advantages[:, 0].view(5, 5), table - others)


class Recorded:
    """A sampler that says its log-probabilities are lower than they are, and keeps what it drew."""

    def __init__(self, sampler):
        self.sampler, self.drawn = sampler, []

    def sample(self, prompts, k, *, seed):
        honest = self.sampler.sample(prompts, k, seed=seed)
        shifted = [
            tuple(replace(one, logprobs=tuple(p - 0.25 for p in one.logprobs)) for one in row)
            for row in honest
        ]
        self.drawn += [one for row in shifted for one in row]
        return shifted


def test_a_rollout_keeps_what_sampler_scorer_and_critic_said():
    plain = tabular_world(enumeration.tabular())
    world = replace(plain, sampler=Recorded(plain.sampler))
    with torch.no_grad():
        world.critic.table.copy_(torch.arange(39.0).view(3, 13) / 10)
    config = PpoConfig(k=8, steps=1, minibatches=1, optimizer=REST, critic_optimizer=REST)
    loop = online_loop(world, ALGORITHMS["ppo"], config, seed=5)
    done, values = loop.step(world.prompts, 0)
    rollouts, drawn = done.rollouts, world.sampler.drawn
    assert rollouts.finished.tolist() == [one.finished for one in drawn]
    assert 0 < sum(one.finished for one in drawn) < len(drawn)
    said = torch.tensor([sum(one.logprobs) for one in drawn])
    own = torch.where(rollouts.mask, rollouts.sampler_logprobs, 0.0).sum(1)
    torch.testing.assert_close(own, said, rtol=1e-5, atol=1e-5)
    assert values["policy/sampler_mismatch"] == pytest.approx(0.25, rel=1e-4)
    assert values["reward/score"] == pytest.approx(float(rollouts.scores.mean()), rel=1e-5)
    spread = float(rollouts.scores.std(correction=0))
    assert values["reward/score_std"] == pytest.approx(spread, rel=1e-4)
    expected = world.critic(done.tokens).values
    torch.testing.assert_close(rollouts.values, expected.detach())
    assert rollouts.values[rollouts.mask].max() > 1


def spied(world, config, steps, budget=4096):
    """Per minibatch of some steps: largest log-ratio, largest change of value, rewards in it."""
    seen, algorithm = [], ALGORITHMS[config.stage]
    new = {"ratio": 0.0, "value": 0.0}

    def loss(outputs, part, *rest, **options):
        ratio = (outputs.logprobs.detach() - part.old_logprobs)[part.mask].abs().max()
        seen.append(new | {"ratio": float(ratio), "scores": part.scores.tolist()})
        return algorithm.loss(outputs, part, *rest, **options)

    def critic_loss(outputs, part, *rest):
        change = (outputs.values.detach() - part.old_values)[part.mask].abs().max()
        seen.append(new | {"value": float(change), "scores": []})
        return algorithm.critic_loss(outputs, part, *rest)

    spy = replace(algorithm, loss=loss, critic_loss=algorithm.critic_loss and critic_loss)
    loop = online_loop(world, spy, config, seed=5)
    for learner in filter(None, (loop.actors.policy, loop.actors.critic)):
        learner.budget = budget
    for step in range(steps):
        loop.step(world.prompts, step)
    return seen


AT_REST = {
    "ppo": PpoConfig(k=6, epochs=2, minibatches=3, optimizer=REST, critic_optimizer=REST),
    "grpo": GrpoConfig(k=6, epochs=2, minibatches=3, optimizer=REST),
}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("budget", [1, 64, 4096])
@pytest.mark.parametrize("stage", AT_REST)
@pytest.mark.parametrize("network", [tiny_llama, tiny_gpt2])
def test_nothing_moves_at_a_rate_of_zero_so_every_ratio_is_one(network, stage, budget, temperature):
    world = transformer_world(network(0), enumeration.text_problem(), temperature=temperature)
    with torch.no_grad():
        world.critic.network.head.weight.fill_(0.3)
    seen = spied(world, AT_REST[stage], 2, budget)
    assert max(one["ratio"] for one in seen) < 2e-6
    assert max(one["value"] for one in seen) < 1e-5
    asked = [score for one in seen for score in one["scores"]]
    assert len(asked) == 2 * 2 * 3 * 6
    first, second, third, _ = (sorted(asked[i : i + 18]) for i in range(0, 72, 18))
    assert first == second != third


def test_minibatches_are_drawn_anew_in_every_epoch():
    config = RlooConfig(k=2, steps=1, epochs=6, minibatches=3, optimizer=REST)
    scores = [one["scores"] for one in spied(tabular_world(enumeration.tabular()), config, 1)]
    passes = {str(scores[i : i + 3]) for i in range(0, 18, 3)}
    assert len(passes) > 1


BUDGET = PpoConfig(
    k=16,
    steps=6,
    epochs=4,
    minibatches=1,
    kl=KlConfig(control="hard", coef=0.1, target=0.02),
    missing_eos_penalty=0,
    optimizer=OptimizerConfig(lr=0.05, schedule="constant", warmup_fraction=0.0),
    critic_optimizer=RATE,
)


def test_a_hard_budget_ends_the_updates_of_a_step_and_keeps_what_it_certified(tmp_path):
    world = tabular_world(enumeration.tabular())
    start = world.policy.table.detach().clone()
    loop, _, history = run(world, BUDGET, tmp_path)
    assert BUDGET.steps <= loop.actors.policy.updates < BUDGET.steps * BUDGET.epochs
    assert max(history.values["kl/policy_reference"]) > 0.02
    assert not torch.equal(world.policy.table, start)
    assert torch.equal(loop.certified["weight.table"], start)
    free = replace_control(BUDGET, "soft")
    loop, _, _ = run(tabular_world(enumeration.tabular()), free, tmp_path / "soft")
    assert loop.actors.policy.updates == BUDGET.steps * BUDGET.epochs
    assert loop.certified == {}


def replace_control(config, control):
    return config.model_copy(update={"kl": config.kl.model_copy(update={"control": control})})


def test_resuming_with_critic_and_moving_coefficient_equals_never_stopping(tmp_path):
    whole = tabular_world(enumeration.tabular())
    loop, _, expected = run(whole, BUDGET, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tabular_world(enumeration.tabular()), BUDGET, tmp_path / "broken", StopsAt(4))
    resumed = tabular_world(enumeration.tabular())
    again, _, rest = run(resumed, BUDGET, tmp_path / "broken")
    assert torch.equal(resumed.policy.table, whole.policy.table)
    assert torch.equal(resumed.critic.table, whole.critic.table)
    assert again.controller.coef == loop.controller.coef != BUDGET.kl.coef
    assert torch.equal(again.certified["weight.table"], loop.certified["weight.table"])
    assert rest.values == {name: values[3:] for name, values in expected.values.items()}


@pytest.mark.parametrize(
    "config",
    [
        RlooConfig(k=4, steps=1, optimizer=RATE),
        PpoConfig(
            k=4,
            steps=1,
            kl=KlConfig(placement="loss", estimator="k3"),
            optimizer=RATE,
            critic_optimizer=RATE,
        ),
    ],
    ids=["rloo", "ppo"],
)
def test_a_step_moves_the_policy_and_sends_nothing_to_the_reference_or_the_rollouts(config):
    world = tabular_world(enumeration.tabular())
    start = world.reference.table.detach().clone()
    loop = online_loop(world, ALGORITHMS[config.stage], config, seed=5)
    done, _ = loop.step(world.prompts, 0)
    assert world.reference.table.grad is None
    assert torch.equal(world.reference.table, start)
    assert not torch.equal(world.policy.table, start)
    for part in (done.rollouts, done.experience):
        tensors = {name: getattr(part, name) for name in part.__dataclass_fields__}
        assert [name for name, tensor in tensors.items() if tensor.requires_grad] == []


def test_what_was_sampled_is_trained_as_it_was_drawn_and_never_tokenized_again(monkeypatch):
    plain = transformer_world(tiny_gpt2(0), enumeration.text_problem())
    world = replace(plain, sampler=Recorded(plain.sampler))

    def again(*_, **__):
        raise AssertionError("sampled ids were made of text again")

    monkeypatch.setattr(world.encoder, "encode_group", again)
    monkeypatch.setattr(world.encoder, "encode_response", again)
    config = RlooConfig(k=8, steps=1, optimizer=REST)
    loop = online_loop(world, ALGORITHMS["rloo"], config, seed=5)
    done, _ = loop.step(world.prompts, 0)
    drawn = [one.tokens for one in world.sampler.drawn]
    assert len(set(drawn)) > 8
    assert [tokens for group in done.tokens for tokens in group.responses] == drawn
    assert [one.token_ids for group in done.groups for one in group.responses] == drawn
    assert done.experience.mask.sum(1).tolist() == list(map(len, drawn))


@pytest.mark.slow  # 12288 responses as records, which tell a token's mean from a response's
def test_the_logged_entropy_is_that_of_a_token_and_not_of_a_response():
    """The exact mean over tokens within 3 standard errors of a ratio of means."""
    problem = enumeration.tabular()
    world = tabular_world(problem)
    logits = enumeration.random_policy(problem)
    with torch.no_grad():
        world.policy.table.copy_(logits)
    config = RlooConfig(k=4096, steps=1, optimizer=REST)
    loop = online_loop(world, ALGORITHMS["rloo"], config, seed=5)
    _, values = loop.step(world.prompts, 0)
    p, mask = enumeration.logp_all(problem.tree, logits).exp(), problem.tree.mask
    entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
    whole = entropy[:, problem.tree.states].where(mask, 0.0).sum(-1)
    lengths = mask.sum(-1).double().expand_as(p)
    exact = float((p * whole).sum() / (p * lengths).sum())
    residual = whole - exact * lengths
    spread = (p * residual.square()).sum(-1) - (p * residual).sum(-1).square()
    error = float((spread.sum() / 4096).sqrt() / (p * lengths).sum())
    assert abs(values["policy/entropy"] - exact) < 3 * error
    by_response = float((p * whole / lengths).sum() / len(p))
    assert abs(by_response - exact) > 6 * error
