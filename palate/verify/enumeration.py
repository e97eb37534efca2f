"""Problems small enough to enumerate: exact optima, divergences and best-of-n, from torch alone.

Nothing of palate is imported here, so nothing here can share one of its mistakes. A response is a
path in a tree of prefixes: it ends at its first end-of-sequence token or at the length limit.
Policies are tables of logits [prompt, state, vocabulary]; distributions over whole responses are
log-probabilities [prompt, response]; per-token tensors are [prompt, response, time].
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """All prefixes (decision states) and all complete responses, shortest first.

    `tokens`, `states` and `mask` are [response, time]: the token written, the state it was written
    in, and whether it exists (padding holds token 0 in state 0).
    """

    vocabulary: int
    eos: int
    prefixes: tuple[tuple[int, ...], ...]
    responses: tuple[tuple[int, ...], ...]
    tokens: Tensor
    states: Tensor
    mask: Tensor


def tree(*, vocabulary: int, eos: int, length: int) -> Tree:
    """The tree of all responses of at most `length` tokens."""
    going_on = [token for token in range(vocabulary) if token != eos]
    prefixes = [p for n in range(length) for p in itertools.product(going_on, repeat=n)]
    responses = [
        (*prefix, token)
        for prefix in prefixes
        for token in range(vocabulary)
        if token == eos or len(prefix) == length - 1
    ]
    number = {prefix: i for i, prefix in enumerate(prefixes)}
    tokens = torch.zeros(len(responses), length, dtype=torch.long)
    states, mask = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    for i, response in enumerate(responses):
        tokens[i, : len(response)] = torch.tensor(response)
        states[i, : len(response)] = torch.tensor(
            [number[response[:t]] for t in range(len(response))]
        )
        mask[i, : len(response)] = True
    return Tree(
        vocabulary=vocabulary,
        eos=eos,
        prefixes=tuple(prefixes),
        responses=tuple(responses),
        tokens=tokens,
        states=states,
        mask=mask,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Maximize E[reward] - beta KL(policy || reference) over tables of logits."""

    tree: Tree
    ref_logits: Tensor
    reward: Tensor
    beta: float


def problem(tree: Tree, *, prompts: int, beta: float, seed: int) -> Problem:
    """A reference with N(0, 1) logits and N(0, 1) rewards, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    table = (prompts, len(tree.prefixes), tree.vocabulary)
    logits = torch.randn(table, generator=generator, dtype=torch.float64)
    shape = (prompts, len(tree.responses))
    reward = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Problem(tree=tree, ref_logits=logits, reward=reward, beta=beta)


def tabular(seed: int = 0) -> Problem:
    """EP-T: 3 prompts, 4 tokens, length 3: 40 responses and 13 states per prompt."""
    return problem(tree(vocabulary=4, eos=3, length=3), prompts=3, beta=0.5, seed=seed)


def small(seed: int = 3) -> Problem:
    """EP-G: 2 prompts, 3 tokens, length 2: 7 responses, so that groups can be enumerated too."""
    return problem(tree(vocabulary=3, eos=2, length=2), prompts=2, beta=0.4, seed=seed)


def short() -> Problem:
    """EP-S: 3 prompts, 3 tokens, length 2, where wrong placements of the KL end far apart."""
    return problem(tree(vocabulary=3, eos=2, length=2), prompts=3, beta=0.4, seed=0)


def one_token() -> Problem:
    """EP-1: 3 prompts, 8 responses of one token each, where sequence and token are the same."""
    return problem(tree(vocabulary=8, eos=7, length=1), prompts=3, beta=0.5, seed=0)


def random_policy(problem: Problem, *, seed: int = 9) -> Tensor:
    """A table of N(0, 1) logits that is not the reference."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(problem.ref_logits.shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextProblem:
    """EP-TF: the reference is a transformer, so only prompts, responses and rewards are given.

    The end-of-sequence token is also the padding token, on purpose; every prompt starts with a BOS
    and a token that ends any constant run, or a rotary model could not tell responses apart.
    """

    tree: Tree
    prompts: tuple[tuple[int, ...], ...]
    pad: int
    reward: Tensor
    beta: float


def text_problem(seed: int = 0) -> TextProblem:
    """EP-TF: 5 tokens (EOS 3, BOS 4), length 3: 85 responses to each of 3 prompts."""
    responses = tree(vocabulary=5, eos=3, length=3)
    prompts = ((4, 0), (4, 1, 2), (4, 2, 0, 1))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(
        len(prompts), len(responses.responses), generator=generator, dtype=torch.float64
    )
    return TextProblem(tree=responses, prompts=prompts, pad=3, reward=0.6 * noise, beta=0.5)


def token_logprobs(tree: Tree, logits: Tensor) -> Tensor:
    """log pi of each token of each response, [prompt, response, time]; 0 at padding."""
    return logits.log_softmax(-1)[:, tree.states, tree.tokens].where(tree.mask, 0.0)


def logp_all(tree: Tree, logits: Tensor) -> Tensor:
    """log pi of each response, [prompt, response]."""
    return token_logprobs(tree, logits).sum(-1)


def log_z(logp_ref: Tensor, reward: Tensor, beta: float) -> Tensor:
    """log sum_y pi_ref(y) exp(r(y) / beta), [prompt]."""
    return (logp_ref + reward / beta).logsumexp(-1)


def pi_star(logp_ref: Tensor, reward: Tensor, beta: float) -> Tensor:
    """The optimum of E[r] - beta KL as log-probabilities: pi_ref exp(r / beta) / Z."""
    return (logp_ref + reward / beta).log_softmax(-1)


def kl(logp: Tensor, logq: Tensor) -> Tensor:
    """KL(p || q) in nats, [prompt]."""
    return (logp.exp() * (logp - logq)).sum(-1)


def tv(logp: Tensor, logq: Tensor) -> Tensor:
    """Total variation sum |p - q| / 2, [prompt]."""
    return 0.5 * (logp.exp() - logq.exp()).abs().sum(-1)


def objective(logp: Tensor, logp_ref: Tensor, reward: Tensor, beta: float) -> Tensor:
    """J = E[r] - beta KL(pi || pi_ref), [prompt]."""
    return (logp.exp() * reward).sum(-1) - beta * kl(logp, logp_ref)


def best_of_n(logp: Tensor, reward: Tensor, n: int) -> Tensor:
    """Probabilities of the best of n samples, F(r)^n - F(r-)^n, for rewards without ties."""
    order = reward.argsort(-1)
    below = torch.zeros_like(logp)
    cumulative = logp.exp().gather(-1, order).cumsum(-1)
    below[..., 1:] = cumulative[..., :-1]
    return torch.zeros_like(logp).scatter(-1, order, cumulative**n - below**n)


def unended(tree: Tree) -> Tensor:
    """[response] True where a response stopped at the length limit, without end of sequence."""
    return torch.tensor([response[-1] != tree.eos for response in tree.responses])


def overlong(tree: Tree, *, fraction: float) -> Tensor:
    """[response] 0 up to (1 - fraction) of the longest length, then linearly up to 1."""
    longest = tree.mask.shape[1]
    begin = (1 - fraction) * longest
    reach = [max(0.0, (len(y) - begin) / (longest - begin)) for y in tree.responses]
    return torch.tensor(reach, dtype=torch.float64)


def budget_coefficient(logp_ref: Tensor, reward: Tensor, budget: float) -> float:
    """The beta at which pi* spends a mean KL of `budget` nats, by bisection on log beta."""
    low, high = -7.0, 7.0
    for _ in range(100):
        middle = (low + high) / 2
        spent = kl(pi_star(logp_ref, reward, math.exp(middle)), logp_ref).mean()
        low, high = (middle, high) if spent > budget else (low, middle)
    return math.exp(high)


def standardized_optimum(logp_ref: Tensor, reward: Tensor, beta: float) -> Tensor:
    """pi in proportion ref exp(r / (beta sigma)), sigma the deviation of r under pi itself.

    Where dividing advantages by a large group's standard deviation leads, the KL being in the loss.
    """
    logp = logp_ref
    for _ in range(500):
        pi = logp.exp()
        mean = (pi * reward).sum(-1, keepdim=True)
        sigma = (pi * (reward - mean).square()).sum(-1, keepdim=True).sqrt()
        target = (logp_ref + reward / (beta * sigma)).log_softmax(-1)
        logp = (0.9 * logp + 0.1 * target).log_softmax(-1)
    return logp


def rescaled(problem: Problem, rule: Rule, deviation: Callable[[Tensor], Tensor]) -> Tensor:
    """The solution of a rule where rewards are divided by their deviation under that solution."""
    sigma = torch.ones(1, dtype=torch.float64)
    logp = logp_all(problem.tree, problem.ref_logits)
    for _ in range(60):
        sigma = 0.5 * sigma + 0.5 * deviation(logp)
        scaled = replace(problem, reward=problem.reward / sigma)
        logp = logp_all(problem.tree, solve(scaled, rule))
    return logp


def deviation_of(reward: Tensor, logp: Tensor) -> Tensor:
    """Standard deviation of the reward of a prompt's responses, [prompt, 1]."""
    pi = logp.exp()
    mean = (pi * reward).sum(-1, keepdim=True)
    return (pi * (reward - mean).square()).sum(-1, keepdim=True).sqrt()


def token_deviation(tree: Tree, reward: Tensor, logp: Tensor) -> Tensor:
    """Standard deviation of rewards less their prompt's mean, over the tokens of all prompts."""
    pi = logp.exp()
    centered_reward = reward - (pi * reward).sum(-1, keepdim=True)
    weights = pi * tree.mask.sum(-1)
    weights = weights / weights.sum()
    mean = (weights * centered_reward).sum()
    return (weights * (centered_reward - mean).square()).sum().sqrt()


def preferred(logp: Tensor, reward: Tensor) -> Tensor:
    """P(y preferred to a response from logp), labels being sigmoid(r - r'); [prompt, response]."""
    beats = torch.sigmoid(reward[..., :, None] - reward[..., None, :])
    return (beats * logp.exp()[..., None, :]).sum(-1)


def bradley_terry_scores(probability: Tensor, *, offset: float = 0.0) -> Tensor:
    """Centered scores [prompt, response] that maximize the likelihood of P(i over j), by Newton.

    Every pair of different responses counts once; `probability` is [prompt, response, response].
    With an offset the likelihood of i over j is sigmoid(s_i - s_j - offset), and of j over i alike.
    """
    others = 1 - torch.eye(probability.shape[-1], dtype=probability.dtype)
    scores = torch.zeros_like(probability[..., 0])
    for _ in range(30):
        difference = scores[..., :, None] - scores[..., None, :]
        behind, ahead = torch.sigmoid(offset - difference), torch.sigmoid(offset + difference)
        slope = ((probability * behind - (1 - probability) * ahead) * others).sum(-1)
        weight = probability * behind * (1 - behind) + (1 - probability) * ahead * (1 - ahead)
        weight = weight * others
        curvature = torch.diag_embed(weight.sum(-1)) - weight
        step = torch.linalg.pinv(curvature, hermitian=True) @ slope[..., None]
        scores = scores + step[..., 0]
    return centered(scores)


def normalized_means(tree: Tree, scores: Tensor) -> Tensor:
    """Log-probabilities whose means per token are the scores plus a constant of the prompt.

    pi(y) = exp(|y| (s(y) + c)), c by bisection so that they sum to 1; [prompt, response].
    """
    lengths = tree.mask.sum(-1)
    high = -scores.max(-1, keepdim=True).values  # the likeliest response alone has 1 there
    low = high - math.log(len(lengths)) - 1
    for _ in range(200):
        middle = (low + high) / 2
        too_much = (lengths * (scores + middle)).logsumexp(-1, keepdim=True) > 0
        low, high = torch.where(too_much, low, middle), torch.where(too_much, middle, high)
    return lengths * (scores + low)


def minimizer(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Log-probabilities [prompt, response] that minimize a smooth loss of them, by L-BFGS."""
    free = start.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [free],
        max_iter=5000,
        tolerance_grad=1e-11,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(free.log_softmax(-1))
        value.backward()
        return value

    optimizer.step(closure)
    return free.detach().log_softmax(-1)


def centered(scores: Tensor) -> Tensor:
    """Scores less their mean over a prompt's responses: a reward has no origin."""
    return scores - scores.mean(-1, keepdim=True)


def imitated(tree: Tree, weights: Tensor) -> Tensor:
    """Policy log-probabilities that maximize sum_y w(y) sum_t log pi(y_t); w [prompt, response].

    In every state the tokens get the weight of the responses through them.
    """
    counts = weights.new_zeros(len(weights), len(tree.prefixes), tree.vocabulary)
    for response, (states, tokens, mask) in enumerate(
        zip(tree.states, tree.tokens, tree.mask, strict=True)
    ):
        counts[:, states[mask], tokens[mask]] += weights[:, response, None]
    return logp_all(tree, counts.log())


def soft(log_ref: Tensor, q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The true optimum: pi in proportion ref exp(Q / beta), V = beta log sum ref exp(Q / beta)."""
    tilted = log_ref + q / beta
    return tilted.log_softmax(-1), beta * tilted.logsumexp(-1)


def tree_k2(log_ref: Tensor, q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Token k2 in the loss: the soft policy, but V = E[Q], since future KL is not charged."""
    logp = (log_ref + q / beta).log_softmax(-1)
    return logp, (logp.exp() * q).sum(-1)


def tree_k3(log_ref: Tensor, q: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Token k3 in the loss: pi = beta ref / (lambda - Q) with lambda > max Q, and V = E[Q]."""
    low, high = q.max(-1, keepdim=True).values, q.max(-1, keepdim=True).values + beta
    for _ in range(200):
        middle = (low + high) / 2
        too_much = (beta * log_ref.exp() / (middle - q)).sum(-1, keepdim=True) > 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    pi = beta * log_ref.exp() / (high - q)
    return pi.log(), (pi * q).sum(-1)


def _induce(problem: Problem, value_of: Callable[[int, Tensor], Tensor]) -> Tensor:
    """V [prompt, state] from the leaves up, value_of(state, Q) being the value of one state.

    Q(s, a) is the reward where a ends the response, else the value of the next state.
    """
    paths = problem.tree
    after = dict(zip(paths.responses, problem.reward.unbind(-1), strict=True))
    for state, prefix in reversed(list(enumerate(paths.prefixes))):
        q = torch.stack([after[(*prefix, a)] for a in range(paths.vocabulary)], dim=-1)
        after[prefix] = value_of(state, q)
    return torch.stack([after[prefix] for prefix in paths.prefixes], dim=-1)


def solve(problem: Problem, rule: Rule) -> Tensor:
    """The table of log-probabilities that a local rule gives by backward induction."""
    log_ref = problem.ref_logits.log_softmax(-1)
    solution = torch.zeros_like(log_ref)

    def value_of(state: int, q: Tensor) -> Tensor:
        solution[:, state], value = rule(log_ref[:, state], q, problem.beta)
        return value

    _induce(problem, value_of)
    return solution


def state_values(problem: Problem, logits: Tensor) -> Tensor:
    """V(s) = E_pi[sum of later rewards - beta log(pi / pi_ref)], [prompt, state]."""
    logp, log_ref = logits.log_softmax(-1), problem.ref_logits.log_softmax(-1)

    def value_of(state: int, q: Tensor) -> Tensor:
        charged = q - problem.beta * (logp[:, state] - log_ref[:, state])
        return (logp[:, state].exp() * charged).sum(-1)

    return _induce(problem, value_of)
