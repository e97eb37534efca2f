"""What a response claims, checked against the facts of the menu."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from palate.worlds.cafe import lexicon, menu
from palate.worlds.cafe.menu import HOURS, MENU
from palate.worlds.cafe.money import amounts
from palate.worlds.cafe.question import DAYS, HOURS_SAID, ITEMS, THINGS, Question
from palate.worlds.cafe.reading import Sentence


@dataclass(slots=True)
class Claims:
    """A count of claims that answer and are true, that are false, and that nobody asked for.

    `lead` is how many words stand before the first claim that answers.
    """

    right: int = 0
    wrong: int = 0
    beside: int = 0
    lead: int = 0

    def answer(self, true: bool, lead: int) -> None:
        """Counts a claim that answers the question and begins after `lead` words."""
        if not self.right + self.wrong:
            self.lead = lead
        self.right += true
        self.wrong += not true


def _negated(clause: Sequence[str]) -> bool:
    return not lexicon.NEGATIONS.isdisjoint(clause)


def _yes_or_no(sentence: Sentence) -> bool | None:
    """What a sentence that begins with yes or no says."""
    for clause in sentence.clauses[:2]:
        if clause[0] in lexicon.YES or clause[:2] == ("of", "course"):
            return True
        if clause[0] in lexicon.NO:
            return False
        if clause[:2] in lexicon.BRIEF and len(clause) < 4:
            return not _negated(clause)
    return None


def _count_amounts(claims: Claims, question: Question, words: Sequence[str], start: int) -> None:
    asked = dict(question.basket) if question.total else {}
    prices = [MENU[name].cents for name in asked]
    for index, cents, said, each in amounts(words):
        if said:
            true = cents == menu.total_cents(said)
            line = each and any(cents == MENU[name].cents for name in said) and not true
        else:
            true = cents == question.total and not (each and question.kind == "sum")
            line = not true and (each or cents in prices)
        if line:
            continue
        if asked and said in ({}, asked):
            claims.answer(true, start + index)
        elif said and not true:
            claims.wrong += 1
        elif asked and not said.keys() <= asked.keys():
            claims.beside += 1


def _times(clause: Sequence[str]) -> set[int]:
    """The clock hours (0 to 11) that a clause names."""
    first = "at" if len(clause) < 3 or clause[1] in ("in", "on") else ""
    return {
        HOURS_SAID[word] % 12
        for before, word in zip((first, *clause), clause, strict=False)
        if word in HOURS_SAID and before in lexicon.TIMELY
    }


def _times_are_true(times: set[int], hours: tuple[int, int], clause: Sequence[str]) -> bool:
    """Whether the hours a clause names are those of the day, opening and closing not mixed up."""
    begin, end = (hour % 12 for hour in hours)
    if len(times) == 1 and not lexicon.CLOSING.isdisjoint(clause):
        return times == {end}
    if len(times) == 1 and not lexicon.OPENING.isdisjoint(clause):
        return times == {begin}
    return times <= {begin, end}


def _days(clause: Sequence[str]) -> set[str]:
    """The days that a clause names; "Monday to Friday" names five."""
    week = list(HOURS)
    found = [(index, DAYS[word]) for index, word in enumerate(clause) if word in DAYS]
    days = {day for _, day in found}
    for (index, first), (after, last) in itertools.pairwise(found):
        if after == index + 2 and clause[index + 1] in ("to", "through", "until"):
            days.update(week[week.index(first) : week.index(last) + 1])
    return days


def _is_true_of_day(
    question: Question, day: str, clause: Sequence[str], yes: bool | None
) -> bool | None:
    """Whether what a clause says of a day is true; None when it says nothing that was asked."""
    hours, times = HOURS[day], _times(clause)
    asked = day == question.day
    if asked and question.hour is not None and len(times) == 1:
        times -= {question.hour % 12}
    opened = bool(times) or "open" in clause
    shut = not lexicon.SHUT.isdisjoint(clause) or (_negated(clause) and "open" in clause)
    if hours is not None and not _times_are_true(times, hours, clause):
        return False
    if hours is None or (asked and question.ask == "whether"):
        if yes is None and not (opened or shut):
            return None
        said = yes if yes is not None and not (shut and yes) else not shut
        return said == (question.truth if hours and asked else hours is not None)
    if shut:
        return False
    target = hours[question.ask == "closes"] % 12
    return True if target in times or (times and not asked) else None


def _count_hours(claims: Claims, question: Question, sentence: Sentence, start: int) -> None:
    named = _days(sentence.words)
    yes = _yes_or_no(sentence) if question.ask == "whether" else None
    days = {question.day} if question.day in named or not named else named
    for clause in sentence.clauses:
        days = _days(clause) or days
        asked = question.day in days
        day = question.day if asked else min(days)
        true = _is_true_of_day(question, day, clause, yes if asked else None)
        if true is not None and asked:
            claims.answer(true, start)
        elif true is not None:
            claims.wrong += not true
            claims.beside += true
        start += len(clause)


def _count_polarity(claims: Claims, question: Question, sentence: Sentence, start: int) -> None:
    """Counts what a sentence says about a yes-or-no question of the menu or the house.

    A yes counts when it stands alone or with what was asked, not with something else.
    """
    asked = {name for name, _ in question.basket}
    votes: set[bool] = set()
    for clause in sentence.clauses:
        named = {ITEMS[word] for word in clause if word in ITEMS}
        if not question.topic.isdisjoint(clause) and (not asked or not named or asked & named):
            votes.add(not _negated(clause))
    yes = _yes_or_no(sentence)
    other = THINGS.keys() | lexicon.VEGAN | lexicon.NUTS
    alone = other.isdisjoint(sentence.words) or sentence.clauses[0][:2] in lexicon.BRIEF
    if yes is not None and (votes or alone):
        votes.add(yes)
    for vote in votes:
        claims.answer(vote == question.truth, start)


def _count_choice(claims: Claims, question: Question, sentence: Sentence, start: int) -> None:
    asked = {name for name, _ in question.basket}
    for clause in sentence.clauses:
        if not _negated(clause):
            for index, word in enumerate(clause):
                if word in ITEMS and ITEMS[word] not in asked:
                    claims.answer(ITEMS[word] in question.fits, start + index)
                elif not THINGS.get(word, True):
                    claims.answer(False, start + index)
        start += len(clause)


def _count_names(claims: Claims, question: Question, sentence: Sentence, start: int) -> None:
    for index, word in enumerate(sentence.words):
        name = word.removesuffix("'s")
        if name == question.right or name in question.wrong:
            claims.answer(name == question.right, start + index)


def _count_asides(claims: Claims, question: Question, sentence: Sentence) -> None:
    """Counts false claims about the menu that no question asked for."""
    asked = {name for name, _ in question.basket} if question.ask in ("vegan", "nuts") else set()
    for clause in sentence.clauses:
        if question.ask != "choice" and not lexicon.HAVING.isdisjoint(clause):
            absent = {word for word in clause if not THINGS.get(word, True)} - question.topic
            claims.wrong += len(absent) if not _negated(clause) else 0
        for topic, fact in ((lexicon.VEGAN, "vegan"), (lexicon.NUTS, "with_nuts")):
            if not topic.isdisjoint(clause) and "allergy" not in clause:
                named = {ITEMS[word] for word in clause if word in ITEMS} - asked
                said = not _negated(clause)
                claims.wrong += sum(getattr(MENU[name], fact) != said for name in named)


def claims_of(question: Question, sentences: Sequence[Sentence]) -> Claims:
    """The claims of all sentences that are not questions themselves."""
    claims = Claims()
    start = 0
    for sentence in sentences:
        if sentence.end != "?":
            if question.kind == "hours":
                _count_hours(claims, question, sentence, start)
            elif question.ask in ("has", "vegan", "nuts"):
                _count_polarity(claims, question, sentence, start)
            elif question.ask == "choice":
                _count_choice(claims, question, sentence, start)
            elif question.ask == "name":
                _count_names(claims, question, sentence, start)
            _count_amounts(claims, question, sentence.words, start)
            _count_asides(claims, question, sentence)
        start += len(sentence.words)
    return claims
