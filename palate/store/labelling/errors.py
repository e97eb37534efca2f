"""What the labelling service refuses."""


class Refused(Exception):
    """Something that a person may not do, or not now; `reason` names a text of the catalogue."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
