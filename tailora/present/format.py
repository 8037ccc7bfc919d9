"""Numbers and names as text: one way to write each."""

from tailora.files import Row

_MOST_NAMES = 5
_LONGEST_NAME = 40


def format_share(value: float) -> str:
    """Return a share from 0 to 1 in percent."""
    return f"{value:.1%}"


def format_value(entry: Row, value: float) -> str:
    """Return a value of the entry's metric: shares in percent, others with digits that fit base and tuned alike."""
    if entry["share"]:
        return format_share(value)
    return format_number(value, max(abs(value), abs(entry["base"]), abs(entry["tuned"])))


def format_number(value: float, scale: float | None = None) -> str:
    """Return a number with three decimals, or with one where it, or the `scale` it belongs to, is 10 or more."""
    return f"{value:.3f}" if abs(value if scale is None else scale) < 10 else f"{value:,.1f}"


def format_p(value: float) -> str:
    """Return a p-value with three digits, the smallest as what they are below."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_difference(entry: Row) -> str:
    """Return the difference with its sign, in percentage points for shares."""
    return _plain_difference(entry, entry["difference"], sign="+")


def format_interval(entry: Row) -> str:
    """Return the ends of the 95% confidence interval of the difference; "none" where there is no interval."""
    if entry["low"] is None:
        return "none"
    return f"[{_plain_difference(entry, entry['low'])}, {_plain_difference(entry, entry['high'])}]"


def format_effect(entry: Row) -> str:
    """Return the difference with its confidence interval."""
    points = " points" if entry["share"] else ""
    return f"{format_difference(entry)}{points} (95% CI {format_interval(entry)})"


def _plain_difference(entry: Row, value: float, sign: str = "-") -> str:
    if entry["share"]:
        return f"{100 * value:{sign}.1f}"
    return f"{value:{sign}.3f}" if abs(value) < 10 else f"{value:{sign},.1f}"


def format_change(entry: Row) -> str:
    """Return the values of base and tuned."""
    return f"{format_value(entry, entry['base'])} → {format_value(entry, entry['tuned'])}"


def count_rows(count: int) -> str:
    """Return a number of rows with its noun."""
    return f"{count:,} row{'s' * (count != 1)}"


def shorten_names(names: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(map(one_line, names[:_MOST_NAMES]))
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES:,} more"


def one_line(name: str) -> str:
    """Return a name on one line, cut where it is long."""
    return " ".join(name.split())[:_LONGEST_NAME]
