"""Time and throughput: medians, answers per hour of work and per day."""

import pytest

from palate.store.labelling.pace import paces
from tests.store.office import PROJECT, Office, choice

DAY = 24 * 3600.0


def test_pace_is_of_the_time_that_people_spent_and_of_days_with_answers(office: Office) -> None:
    ann, bob = office.hire("ann"), office.hire("bob")
    for day, seconds in ((0, 100.0), (40, 2.0), (40, 4.0), (42, 30.0)):
        office.now = 1000.0 + day * DAY
        asked = office.claim(ann)
        office.submit(ann, asked, choice(0, seconds))
    with office.desk.reading() as connection:
        found = paces(connection, PROJECT, now=office.now)
    assert bob not in found
    pace = found[ann]
    assert pace.median == 4.0, "what is older than thirty days does not count"
    assert [work.answers for work in pace.days.values()] == [1, 2]
    assert pace.total.seconds == 36.0
    assert pace.per_hour == pytest.approx(300.0)
    assert pace.per_day == 1.5
    assert pace.last == office.now
