"""A monitor at which training stops, as by Ctrl-C."""

from palate.verify.loops import History


class Interrupted(Exception):
    pass


class StopsAt(History):
    def __init__(self, step):
        super().__init__()
        self.last = step

    def log(self, step, total, values):
        super().log(step, total, values)
        if step == self.last:
            raise Interrupted
