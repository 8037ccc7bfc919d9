"""Numbers and names as text: one way to write each."""

from tailora.files import Row

_MOST_NAMES = 5
_LONGEST_NAME = 40


def format_value(entry: Row, value: float) -> str:
    """Return a value of the entry's metric: shares in per cent, others with digits that fit base and tuned alike."""
    if entry["share"]:
        return f"{value:.1%}".replace("%", " %")
    return digits(value, max(abs(value), abs(entry["base"]), abs(entry["tuned"])))


def digits(value: float, scale: float | None = None) -> str:
    return f"{value:.3f}" if abs(value if scale is None else scale) < 10 else f"{value:,.1f}"


def format_p(value: float) -> str:
    """Return a p-value with three digits, the smallest as what they are below."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_interval(entry: Row) -> str:
    """Return the difference with its interval, in points for shares."""
    points = " points" if entry["share"] else ""
    return f"{signed(entry, entry['difference'])}{points} (95 % interval {ends(entry)})"


def ends(entry: Row) -> str:
    if entry["low"] is None:
        return "none"
    return f"{signed(entry, entry['low'])} … {signed(entry, entry['high'])}"


def signed(entry: Row, value: float) -> str:
    if entry["share"]:
        return f"{100 * value:+.1f}"
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+,.1f}"


def count_rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def shorten_names(names: list[str]) -> str:
    shown = ", ".join(map(one_line, names[:_MOST_NAMES]))
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES:,} more"


def one_line(name: str) -> str:
    return " ".join(name.split())[:_LONGEST_NAME]
