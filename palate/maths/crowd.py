# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
"""How reliable annotators are when nobody knows the truth, with standard errors.

Priors are pseudo-votes: an unknown annotator has been right `right` times and has given each wrong
answer `wrong` times.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from palate.maths.ratings import Ratings, Votes, bradley_terry_fit, centered, minimum

Array = NDArray[np.floating]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """N labels: which of `items` got which of `values` labels from which of `raters`.

    >>> no = np.array([0, 0])
    >>> Labels(item=no, rater=np.arange(2), value=no, items=1, raters=2, values=3).raters
    2
    """

    item: Indices
    rater: Indices
    value: Indices
    items: int
    raters: int
    values: int


class DawidSkene(NamedTuple):
    """shares[value] of the truth, confusion[rater, truth, value], posterior[item, truth], and
    per rater the probability sum_v shares[v] confusion[v, v] of being right, with its error."""

    shares: Array
    confusion: Array
    posterior: Array
    accuracy: Array
    error: Array


def dawid_skene(
    labels: Labels, *, right: float = 4.0, wrong: float = 1.0, tolerance: float = 1e-7
) -> DawidSkene:
    """Most probable truth and confusions by expectation maximization: Dawid and Skene 1979.

    Unlike the paper, confusions have a Dirichlet prior. Errors are those of the empirical
    information, the sum of outer products of the items' scores.
    """
    prior = np.full((labels.values, labels.values), wrong)
    np.fill_diagonal(prior, right)
    posterior = np.full((labels.items, labels.values), 1 / labels.values)
    np.add.at(posterior, (labels.item, labels.value), 1.0)
    posterior /= posterior.sum(1, keepdims=True)
    while True:
        shares, confusion = _fitted(labels, posterior, prior)
        logits = np.tile(np.log(shares), (labels.items, 1))
        np.add.at(logits, labels.item, np.log(confusion)[labels.rater, :, labels.value])
        before, posterior = posterior, special.softmax(logits, axis=1)
        if np.abs(posterior - before).max() < tolerance:
            break
    right_each = np.einsum("v,rvv->r", shares, confusion)
    error = _accuracy_error(labels, shares, confusion, posterior, prior)
    return DawidSkene(shares, confusion, posterior, right_each, error)


def _fitted(labels: Labels, posterior: Array, prior: Array) -> tuple[Array, Array]:
    given = np.zeros((labels.raters, labels.values, labels.values))
    np.add.at(given, (labels.rater, labels.value), posterior[labels.item])
    counts = prior + given.transpose(0, 2, 1)
    shares = posterior.sum(0) + 1
    return shares / shares.sum(), counts / counts.sum(2, keepdims=True)


def _accuracy_error(
    labels: Labels, shares: Array, confusion: Array, posterior: Array, prior: Array
) -> Array:
    """Delta-method errors of the accuracies, through the logits of shares and confusions."""
    k, cells = labels.values, labels.values**2
    scores = _item_scores(labels, shares, confusion, posterior)
    information = cast(Array, (scores.T @ scores).toarray())
    size = len(information)
    slopes = np.zeros((labels.raters, size))
    for rater in range(labels.raters):
        for truth in range(k):
            row, at = confusion[rater, truth], k + rater * cells + truth * k
            spread = np.diag(row) - np.outer(row, row)
            information[at : at + k, at : at + k] += prior[truth].sum() * spread
            slopes[rater, at : at + k] = shares[truth] * spread[truth]
        own = np.diag(confusion[rater])
        slopes[rater, :k] = shares * (own - shares @ own)
    information[:k, :k] += k * (np.diag(shares) - np.outer(shares, shares))
    covariance = np.linalg.pinv(information, rcond=1e-10, hermitian=True)
    return np.sqrt(np.einsum("rp,pq,rq->r", slopes, covariance, slopes, optimize=True))


def _item_scores(
    labels: Labels, shares: Array, confusion: Array, posterior: Array
) -> sparse.csr_array:
    """The gradient of each item's log-likelihood: logits of shares, then of each rater's rows."""
    k, cells = labels.values, labels.values**2
    given = np.eye(k)[labels.value][:, None, :] - confusion[labels.rater]
    pulls = posterior[labels.item][:, :, None] * given
    columns = k + labels.rater[:, None] * cells + np.arange(cells)
    entries = np.concatenate([(posterior - shares).ravel(), pulls.ravel()])
    rows = np.concatenate([np.repeat(np.arange(labels.items), k), np.repeat(labels.item, cells)])
    columns = np.concatenate([np.tile(np.arange(k), labels.items), columns.ravel()])
    shape = (labels.items, k + labels.raters * cells)
    return sparse.coo_array((entries, (rows, columns)), shape=shape).tocsr()


class AbilityRatings(NamedTuple):
    """Scores of items, and per voter the probability `ability` of voting as the scores say."""

    ratings: Ratings
    ability: Array
    error: Array


def crowd_bradley_terry(
    votes: Votes,
    items: int,
    voters: int,
    *,
    right: float = 4.0,
    wrong: float = 1.0,
    ridge: float = 0.1,
) -> AbilityRatings:
    """P(voter r puts i before j) = eta_r sigmoid(s_i - s_j) + (1 - eta_r) sigmoid(s_j - s_i).

    Chen et al. 2013 (doi:10.1145/2433396.2433420) eq. 6: a voter with eta 1/2 guesses, one with 0
    inverts. A tie is half a vote each way. Errors are those of the observed information.
    """
    problem = _Crowd(votes=votes, items=items, voters=voters, right=right, wrong=wrong, ridge=ridge)
    start = np.full(items + voters, np.log(right / wrong))
    start[:items] = bradley_terry_fit(votes.wins(items), ridge=ridge).scores
    best = minimum(problem.loss, problem.gradient, problem.hessian, start)
    covariance = np.linalg.inv(problem.hessian(best))
    ability = special.expit(best[items:])
    error = ability * (1 - ability) * np.sqrt(np.diag(covariance)[items:])
    ratings = centered(best[:items], covariance[:items, :items])
    return AbilityRatings(ratings, ability, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crowd:
    """-log posterior of x = (scores, logits of the abilities), and its derivatives."""

    votes: Votes
    items: int
    voters: int
    right: float
    wrong: float
    ridge: float

    def _vote(self, x: Array) -> tuple[Array, Array, Array]:
        """Per vote: sigmoid of the score difference, eta, and P(the first wins)."""
        agrees = special.expit(x[self.votes.first] - x[self.votes.second])
        eta = special.expit(x[self.items + self.votes.voter])
        return agrees, eta, np.clip((2 * eta - 1) * agrees + 1 - eta, 1e-12, 1 - 1e-12)

    def loss(self, x: Array) -> float:
        scores, logits, won = x[: self.items], x[self.items :], self.votes.outcome
        *_, p = self._vote(x)
        fit = won * np.log(p) + (1 - won) * np.log(1 - p)
        known = self.right * special.log_expit(logits) + self.wrong * special.log_expit(-logits)
        return float(-fit.sum() - known.sum() + self.ridge / 2 * scores @ scores)

    def gradient(self, x: Array) -> Array:
        votes, won = self.votes, self.votes.outcome
        agrees, eta, p = self._vote(x)
        pull = (1 - won) / (1 - p) - won / p
        up = pull * (2 * eta - 1) * agrees * (1 - agrees)
        score = np.bincount(votes.first, up, self.items) - np.bincount(votes.second, up, self.items)
        logit = np.bincount(votes.voter, pull * eta * (1 - eta) * (2 * agrees - 1), self.voters)
        prior = (self.right + self.wrong) * special.expit(x[self.items :]) - self.right
        return np.concatenate([score + self.ridge * x[: self.items], logit + prior])

    def hessian(self, x: Array) -> Array:
        votes, won = self.votes, self.votes.outcome
        agrees, eta, p = self._vote(x)
        pull = (1 - won) / (1 - p) - won / p
        bend = won / p**2 + (1 - won) / (1 - p) ** 2
        steep, known = agrees * (1 - agrees), eta * (1 - eta)
        by_d, by_a = (2 * eta - 1) * steep, known * (2 * agrees - 1)
        dd = pull * by_d * (1 - 2 * agrees) + bend * by_d * by_d
        aa = pull * by_a * (1 - 2 * eta) + bend * by_a * by_a
        da = pull * 2 * known * steep + bend * by_d * by_a
        i, j, r = votes.first, votes.second, self.items + votes.voter
        rows = np.concatenate([i, j, i, j, r, i, r, j, r])
        columns = np.concatenate([i, j, j, i, r, r, i, r, j])
        entries = np.concatenate([dd, dd, -dd, -dd, aa, da, da, -da, -da])
        size = self.items + self.voters
        whole = sparse.coo_array((entries, (rows, columns)), shape=(size, size)).toarray()
        prior = special.expit(x[self.items :])
        prior = (self.right + self.wrong) * prior * (1 - prior)
        return whole + np.diag(np.concatenate([np.full(self.items, self.ridge), prior]))
