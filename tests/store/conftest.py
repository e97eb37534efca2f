"""An office of thirty questions, on both databases."""

from collections.abc import Iterator

import pytest

from tests.store.office import Office


@pytest.fixture
def office(url: str) -> Iterator[Office]:
    office = Office(url, groups=30)
    yield office
    office.desk.close()
