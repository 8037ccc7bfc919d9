"""Tasks on dates, times and durations."""

from datetime import date

from authoring.python_qa.family import Case, Family, Setting, calls, table

WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip


def _move_tests(setting: Setting) -> list[Case]:
    days = {"days": 1, "weeks": 7}[setting["unit"]] * setting["n"] * (1 if setting["op"] == "+" else -1)

    def oracle(day: str) -> str:
        return str(date.fromordinal(date.fromisoformat(day).toordinal() + days))

    return calls(setting["name"], oracle, ("2024-02-20",), ("2023-12-31",), ("2025-07-01",))


def _weekday_tests(setting: Setting) -> list[Case]:
    def oracle(day: str) -> str:
        first = date.fromisoformat(day).toordinal()
        reach = {
            "next": range(first + 1, first + 8),
            "coming": range(first, first + 7),
            "past": range(first, first - 7, -1),
        }[setting["way"]]
        return next(str(date.fromordinal(n)) for n in reach if (n - 1) % 7 == setting["number"])

    days = ("2024-05-15",), ("2024-12-29",), ("2024-02-26",), ("2025-03-01",)
    same = (f"2024-07-{setting['number'] + 1:02d}",)
    return calls(setting["name"], oracle, *days, same)


def _written(moment: tuple[int, int, int, int, int], form: str) -> str:
    year, month, day, hour, minute = moment
    parts = {
        "%Y": f"{year:04d}",
        "%m": f"{month:02d}",
        "%d": f"{day:02d}",
        "%H": f"{hour:02d}",
        "%M": f"{minute:02d}",
    }
    parts |= {"%y": f"{year:04d}"[2:], "%B": MONTHS[month - 1], "%b": MONTHS[month - 1][:3]}
    for mark, text in parts.items():
        form = form.replace(mark, text)
    return form


def _reformat_tests(setting: Setting) -> list[Case]:
    moments = [(2024, 3, 5, 14, 30), (1999, 12, 31, 0, 0), (2031, 10, 9, 7, 5)]
    return [Case(f"{setting['name']}({_written(m, setting['source'])!r})", _rewritten(m, setting)) for m in moments]


def _rewritten(moment: tuple[int, int, int, int, int], setting: Setting) -> str:
    timed = "%H" in setting["source"]
    return _written(moment if timed else (*moment[:3], 0, 0), setting["target"])


FAMILIES = (
    Family(
        topic="dates",
        name="move-date",
        settings=[
            s | {"way": "after" if s["op"] == "+" else "before"}
            for s in table(
                "name op unit n",
                ("due_date", "+", "days", 14),
                ("return_date", "+", "weeks", 3),
                ("reminder_date", "-", "days", 2),
                ("start_date", "-", "weeks", 6),
                ("trial_end", "+", "days", 30),
                ("harvest_date", "+", "weeks", 12),
                ("packing_date", "-", "days", 3),
                ("review_date", "+", "days", 90),
                ("booking_date", "-", "weeks", 8),
                ("delivery_date", "+", "days", 5),
                ("deadline", "-", "days", 10),
                ("second_dose", "+", "weeks", 4),
                ("retest_date", "+", "days", 45),
                ("order_date", "-", "days", 21),
                ("next_season", "+", "weeks", 26),
                ("early_date", "-", "weeks", 2),
                ("warranty_end", "+", "days", 730),
                ("last_service", "-", "days", 180),
            )
        ],
        phrasings="""
Write a function `$name` that takes an ISO date string such as "2024-05-01" and returns the date $n $unit $way
it, again as an ISO string.

How do I compute the date $n $unit $way a given day? Input and output are strings like "2024-05-01". Name it
`$name`.

I need `$name(day)`: parse an ISO date, $op $n $unit, and format the result in ISO style again.

Please implement `$name` with `date` and `timedelta`. It shifts a day ("YYYY-MM-DD") to the one $n $unit $way
it.

Given a date as "YYYY-MM-DD", return the day that is $n $unit $way that date in the same format. The function
is called `$name`.

which date is $n $unit $way a certain day? `$name(day)`, text in, text out (ISO format), leap years handled
please
""",
        answer="""
from datetime import date, timedelta


def $name(day: str) -> str:
    return (date.fromisoformat(day) $op timedelta($unit=$n)).isoformat()
""",
        tests=_move_tests,
    ),
    Family(
        topic="dates",
        name="nearby-weekday",
        settings=[
            s
            | {"number": number, "weekday": weekday, "name": f"{s['way']}_{weekday.lower()}"}
            | {"code": s["code"].replace("N", str(number))}
            for number, weekday in enumerate(WEEKDAYS)
            for s in table(
                "way text code",
                (
                    "next",
                    "the first {} after a given date (never that date itself)",
                    "+ timedelta(days=(N - start.weekday() - 1) % 7 + 1)",
                ),
                (
                    "coming",
                    "the first {} on or after a given date",
                    "+ timedelta(days=(N - start.weekday()) % 7)",
                ),
                (
                    "past",
                    "the last {} on or before a given date",
                    "- timedelta(days=(start.weekday() - N) % 7)",
                ),
            )
            for s in [s | {"text": s["text"].format(weekday)}]
        ],
        phrasings="""
Write a function `$name` that returns $text. Dates are strings in the form "YYYY-MM-DD".

How do I find $text? The function `$name` gets and returns ISO strings.

I need `$name(day)`, where `day` is an ISO date string. It returns $text, as an ISO string.

Please implement `$name` with `weekday()` and `timedelta`. Result: $text ("YYYY-MM-DD" in, "YYYY-MM-DD" out).

Given a day in ISO format, return $text in ISO format. Use the name `$name`.

Our meetings are always on a $weekday. Can you code `$name(day)` to get $text? All dates are text like
"2024-05-01".
""",
        answer="""
from datetime import date, timedelta


def $name(day: str) -> str:
    start = date.fromisoformat(day)
    return (start $code).isoformat()
""",
        tests=_weekday_tests,
    ),
    Family(
        topic="dates",
        name="reformat-date",
        settings=table(
            "name source target",
            ("german_to_iso", "%d.%m.%Y", "%Y-%m-%d"),
            ("iso_to_german", "%Y-%m-%d", "%d.%m.%Y"),
            ("us_to_iso", "%m/%d/%Y", "%Y-%m-%d"),
            ("iso_to_us", "%Y-%m-%d", "%m/%d/%Y"),
            ("compact_to_iso", "%Y%m%d", "%Y-%m-%d"),
            ("iso_to_compact", "%Y-%m-%d", "%Y%m%d"),
            ("british_to_us", "%d/%m/%Y", "%m/%d/%Y"),
            ("iso_to_words", "%Y-%m-%d", "%d %B %Y"),
            ("words_to_iso", "%d %B %Y", "%Y-%m-%d"),
            ("iso_to_month", "%Y-%m-%d", "%B %Y"),
            ("short_month", "%Y-%m-%d", "%b %y"),
            ("stamp_to_day", "%Y-%m-%d %H:%M", "%d.%m.%Y"),
            ("stamp_to_clock", "%Y-%m-%d %H:%M", "%H:%M"),
            ("stamp_to_file", "%Y-%m-%d %H:%M", "%Y%m%d_%H%M"),
            ("file_to_stamp", "%Y%m%d_%H%M", "%d.%m.%Y %H:%M"),
            ("log_to_iso", "%d/%b/%Y %H:%M", "%Y-%m-%d %H:%M"),
            ("german_to_path", "%d.%m.%Y", "%Y/%m/%d"),
            ("us_to_words", "%m/%d/%Y", "%B %d, %Y"),
        ),
        phrasings="""
Write a function `$name` that converts a date text from the format `$source` to the format `$target`.

How do I change a date string from `$source` into `$target`? The function is called `$name`.

I need `$name(text)`: read the text with `strptime` and `$source`, write it with `strftime` and `$target`.

Please implement `$name` using the datetime module. Its input looks like `$source`, its output like `$target`.

Given a string in the date format `$source`, return the same moment in the format `$target`. Name: `$name`.

Two systems, two date formats: the first writes `$source`, the second wants `$target`. `$name(text)` should
translate.
""",
        answer="""
from datetime import datetime


def $name(text: str) -> str:
    return datetime.strptime(text, "$source").strftime("$target")
""",
        tests=_reformat_tests,
    ),
    Family(
        topic="dates",
        name="duration-in-two-units",
        settings=table(
            "name whole big small size one two",
            ("clock_text", "seconds", "minutes", "seconds", 60, "min", "s"),
            ("film_length", "minutes", "hours", "minutes", 60, "h", "min"),
            ("trip_length", "hours", "days", "hours", 24, "d", "h"),
            ("holiday_length", "days", "weeks", "days", 7, "w", "d"),
            ("baby_age", "months", "years", "months", 12, "y", "m"),
            ("lap_text", "milliseconds", "seconds", "millis", 1000, "s", "ms"),
            ("study_length", "quarters", "years", "quarters", 4, "y", "q"),
            ("watch_text", "seconds", "hours", "seconds", 3600, "h", "s"),
            ("uptime_text", "minutes", "days", "minutes", 1440, "d", "min"),
            ("history_text", "years", "centuries", "years", 100, "c", "y"),
            ("decade_text", "years", "decades", "years", 10, "dec", "y"),
            ("shift_text", "hours", "shifts", "hours", 8, "sh", "h"),
            ("sprint_text", "days", "sprints", "days", 14, "sp", "d"),
            ("lesson_text", "minutes", "lessons", "minutes", 45, "les", "min"),
            ("rental_text", "days", "months", "days", 30, "mo", "d"),
            ("term_text", "months", "terms", "months", 6, "t", "m"),
            ("signal_text", "microseconds", "millis", "micros", 1000, "ms", "us"),
            ("work_text", "hours", "days", "hours", 7, "wd", "h"),
        ),
        phrasings="""
Write a function `$name` that turns a number of $whole into text like "2$one 5$two", where one $one is $size
$two.

How do I split $whole into $big and $small ($size to one) and show them as "2$one 5$two"? Call it `$name`.

I need `$name(total)`: `divmod` by $size, then the quotient with "$one", a space, and the rest with "$two".

Please implement `$name` for a non-negative int of $whole. The result has the form "<$big>$one <$small>$two";
there are $size $two in one $one.

Given an amount of $whole, return it in two units, $big ("$one") and $small ("$two"), e.g. "3$one 1$two". The
factor is $size. Function: `$name`.

nobody understands large numbers of $whole. make a `$name(total)` that says "1$one 0$two" for $size, and so on
""",
        answer="""
def $name(total: int) -> str:
    $big, $small = divmod(total, $size)
    return f"{$big}$one {$small}$two"
""",
        tests=lambda s: calls(
            s["name"],
            lambda total: f"{total // s['size']}{s['one']} {total - total // s['size'] * s['size']}{s['two']}",
            (s["size"],),
            (0,),
            (s["size"] * 3 - 1,),
            (100,),
        ),
    ),
    Family(
        topic="dates",
        name="open-on-weekday",
        settings=[
            s | {"days": " or ".join(", ".join(WEEKDAYS[n] for n in s["numbers"]).rsplit(", ", 1))}
            for s in table(
                "name numbers",
                ("is_weekend", (5, 6)),
                ("is_workday", (0, 1, 2, 3, 4)),
                ("is_market_day", (2, 5)),
                ("is_training_day", (1, 3)),
                ("is_bin_day", (0, 3)),
                ("is_long_opening", (3, 4)),
                ("is_closed", (0, 6)),
                ("is_choir_day", (2, 6)),
                ("is_office_day", (1, 2, 3)),
                ("is_ferry_day", (0, 2, 4)),
                ("is_bath_day", (5, 2, 0)),
                ("is_delivery_day", (1, 4)),
                ("is_museum_day", (1, 2, 3, 4, 5)),
                ("is_night_bus_day", (4, 5)),
                ("is_home_day", (0, 4)),
                ("is_watering_day", (0, 3, 6)),
                ("is_game_day", (2, 5, 6)),
                ("is_yoga_day", (1, 5)),
            )
        ],
        phrasings="""
Write a function `$name` that takes an ISO date string and returns True if the day is a $days.

How do I check if a date like "2024-05-01" falls on a $days? I want a bool from a function named `$name`.

I need `$name(day)`: True exactly if `weekday()` of the ISO date is one of $numbers, i.e. $days.

Please implement `$name`. The argument is a "YYYY-MM-DD" string; the answer says whether that day is a $days.

Given a day in ISO format, tell whether it is a $days. Monday is 0 in Python, so the numbers are $numbers.
Name it `$name`.

Something happens here only on $days. Can you write `$name(day)` that returns True on these days? `day` is
text in ISO format.
""",
        answer="""
from datetime import date


def $name(day: str) -> bool:
    return date.fromisoformat(day).weekday() in $numbers
""",
        tests=lambda s: [
            Case(
                f"[{s['name']}(f'2024-07-{{d:02d}}') for d in range(1, 8)]",
                [d in s["numbers"] for d in range(7)],
            ),
            *[
                Case(f"{s['name']}({day!r})", WEEKDAYS.index(name) in s["numbers"])
                for day, name in [
                    ("2000-01-01", "Saturday"),
                    ("2024-02-29", "Thursday"),
                    ("1999-12-31", "Friday"),
                ]
            ],
        ],
    ),
)
