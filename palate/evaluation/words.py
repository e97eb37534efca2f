"""Numbers as people read them, the same on the page and in the terminal."""

from palate.maths.statistics import Interval


def percent(fraction: float) -> str:
    """A fraction in percent.

    >>> percent(0.784)
    '78.4%'
    """
    return f"{100 * fraction:.1f}%"


def points(fraction: float) -> str:
    """A fraction in whole percentage points, where decimals would be noise.

    >>> points(0.784)
    '78'
    """
    return f"{100 * fraction:.0f}"


def interval(value: Interval) -> str:
    """A fraction and its 95 % interval.

    >>> interval(Interval(0.784, 0.731, 0.83))
    '78.4% [73.1, 83.0]'
    """
    return f"{percent(value.estimate)} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def difference(value: Interval) -> str:
    """A difference of fractions and its 95 % interval, in percentage points.

    >>> difference(Interval(0.012, -0.02, 0.044))
    '+1.2 points [-2.0, +4.4]'
    """
    low, high = 100 * value.low, 100 * value.high
    return f"{100 * value.estimate:+.1f} points [{low:+.1f}, {high:+.1f}]"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them.

    >>> duration(9.94), duration(75.0), duration(7260.0)
    ('9.9 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def memory(mib: float) -> str:
    """Mebibytes, or gibibytes from 1024 on.

    >>> memory(812.4), memory(2048.0)
    ('812 MiB', '2.0 GiB')
    """
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"
