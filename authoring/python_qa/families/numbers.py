"""Tasks on integers and floats."""

from authoring.python_qa.family import GATHERERS, Case, Family, Setting, calls, grid, table


def _digits(number: int) -> list[int]:
    return [] if number == 0 else [*_digits(number // 10), number % 10]


def _in_base(number: int, symbols: str) -> str:
    if number < len(symbols):
        return symbols[number]
    return _in_base(number // len(symbols), symbols) + symbols[number % len(symbols)]


def _division_tests(setting: Setting) -> list[Case]:
    def oracle(n: int) -> int:
        return next(k for k in range(99) if n // setting["divisor"] ** k <= setting["stop"])

    name = setting["name"]
    many = Case(f"[{name}(n) for n in range(1, 600, 13)]", list(map(oracle, range(1, 600, 13))))
    return [*calls(name, oracle, (1000,), (1,), (setting["stop"] * setting["divisor"] ** 3,)), many]


def _round_tests(setting: Setting) -> list[Case]:
    def oracle(value: int) -> int:
        step = setting["step"]
        near = range(value - step + 1, value + 1) if setting["way"] == "down" else range(value, value + step)
        return next(candidate for candidate in near if candidate % step == 0)

    return calls(setting["name"], oracle, (87,), (setting["step"] * 3,), (-13,), (0,), (301,))


FAMILIES = (
    Family(
        topic="numbers",
        name="clamp",
        settings=table(
            "name low high thing",
            ("clamp_percent", 0, 100, "percentage"),
            ("clamp_volume", 0, 11, "volume"),
            ("clamp_byte", 0, 255, "colour value"),
            ("clamp_dice", 1, 6, "dice result"),
            ("clamp_month", 1, 12, "month number"),
            ("clamp_hour", 0, 23, "hour"),
            ("clamp_minute", 0, 59, "minute"),
            ("clamp_angle", -90, 90, "latitude"),
            ("clamp_longitude", -180, 180, "longitude"),
            ("clamp_speed", 30, 130, "speed"),
            ("clamp_rating", 1, 5, "rating"),
            ("clamp_balance", -500, 500, "balance"),
            ("clamp_heating", 16, 24, "room temperature"),
            ("clamp_zoom", 10, 400, "zoom level"),
            ("clamp_balance_knob", -10, 10, "stereo balance"),
            ("clamp_age", 0, 120, "age"),
            ("clamp_players", 2, 8, "number of players"),
            ("clamp_grade", 0, 15, "grade"),
        ),
        phrasings="""
Write a function `$name` that keeps a $thing between $low and $high: smaller values become $low, larger ones
become $high.

How do I limit a number to the range $low to $high in Python? Please name it `$name`.

I need `$name(value)` for a $thing. Below $low return $low, above $high return $high, otherwise return the
value.

Please implement `$name` using `min` and `max`, with $low as the lower and $high as the upper bound.

Given an int, return it unchanged if it lies in $low..$high and otherwise the nearest of the two bounds.
Function: `$name`.

A user may type any $thing, but only $low to $high makes sense. `$name(value)` should pull it back into that
range.
""",
        answer="""
def $name(value: int) -> int:
    return max($low, min($high, value))
""",
        tests=lambda s: calls(
            s["name"],
            lambda value: sorted([s["low"], value, s["high"]])[1],
            (s["low"] - 3,),
            (s["high"] + 7,),
            (s["low"] + 1,),
            (s["high"],),
        ),
    ),
    Family(
        topic="numbers",
        name="sum-of-multiples",
        settings=[
            s | {"name": f"sum_{s['a']}_{s['link']}_{s['b']}"}
            for s in table(
                "a link b",
                (3, "or", 4),
                (2, "or", 7),
                (4, "or", 9),
                (6, "or", 10),
                (5, "or", 8),
                (3, "or", 11),
                (7, "or", 9),
                (5, "or", 12),
                (10, "or", 15),
                (2, "and", 3),
                (3, "and", 4),
                (2, "and", 5),
                (4, "and", 7),
                (3, "and", 7),
                (2, "and", 9),
                (5, "and", 3),
                (4, "and", 10),
                (6, "and", 8),
            )
        ],
        phrasings="""
Write a function `$name` that adds up all whole numbers from 1 to `limit` (included) that are divisible by $a
$link by $b.

How do I sum the numbers up to and including a limit that $a $link $b divide without remainder? Call it
`$name`.

I need `$name(limit)`: the sum of every n in 1..limit with n % $a == 0 $link n % $b == 0.

Please implement `$name` as a single sum over a range. Only multiples of $a $link $b count; the limit itself
belongs to the range.

Given a positive limit, return the total of the integers from 1 up to it which can be divided by $a $link $b.
Name of the function: `$name`.

math homework checker: `$name(limit)` = sum of all n <= limit where n is a multiple of $a $link of $b
""",
        answer="""
def $name(limit: int) -> int:
    return sum(n for n in range(1, limit + 1) if n % $a == 0 $link n % $b == 0)
""",
        tests=lambda s: calls(
            s["name"],
            lambda limit: sum(
                (set.union if s["link"] == "or" else set.intersection)(
                    set(range(0, limit + 1, s["a"])), set(range(0, limit + 1, s["b"]))
                )
            ),
            (100,),
            (60,),
            (0,),
            (s["a"] * s["b"],),
        ),
    ),
    Family(
        topic="numbers",
        name="digit-arithmetic",
        settings=[
            s | {"name": f"{s['word']}_of_digit_{s['power_name']}"}
            for s in [
                g | p
                for g in table(
                    "word gather noun",
                    ("sum", "sum", "sum"),
                    ("max", "max", "maximum"),
                    ("min", "min", "minimum"),
                )
                for p in table(
                    "power_name each text fold",
                    ("squares", "int(digit) ** 2", "the squares of its digits", lambda d: d * d),
                    ("cubes", "int(digit) ** 3", "the cubes of its digits", lambda d: d * d * d),
                    ("doubles", "int(digit) * 2", "its doubled digits", lambda d: d + d),
                    ("rests", "int(digit) % 3", "its digits modulo 3", lambda d: d - d // 3 * 3),
                    ("gaps", "9 - int(digit)", "the differences between 9 and its digits", lambda d: -d + 9),
                    (
                        "halves",
                        "int(digit) // 2",
                        "its digits halved and rounded down",
                        lambda d: (d - d % 2) // 2,
                    ),
                )
            ]
        ],
        phrasings="""
Write a function `$name` that takes an integer and returns the $noun of $text. A minus sign is ignored.

How do I compute the $noun of `$each` over all digits of a number? The sign should not matter. Name it
`$name`.

I need `$name(number)`: walk through the digits of the absolute value and return the $noun of $text.

Please implement `$name` for any int, negative ones included. For each digit take `$each`, and return the
$noun of these values.

Given an integer, return the $noun of $text (so work with `str(abs(number))`). The function is called `$name`.

Number puzzle: I'm after the $noun of $text, for example with 2507. Can you code this as `$name(number)`?
Negative numbers behave like positive ones.
""",
        answer="""
def $name(number: int) -> int:
    return $gather($each for digit in str(abs(number)))
""",
        tests=lambda s: calls(
            s["name"],
            lambda number: GATHERERS[s["gather"]](map(s["fold"], _digits(abs(number)))),
            (2507,),
            (-384,),
            (9,),
            (66118,),
            (5585,),
        ),
    ),
    Family(
        topic="numbers",
        name="convert-unit",
        settings=[
            s | {"decimals": "1 decimal" if s["digits"] == 1 else f"{s['digits']} decimals"}
            for s in table(
                "name source target factor digits",
                ("miles_to_km", "miles", "kilometres", 1.609, 2),
                ("pounds_to_kg", "pounds", "kilograms", 0.4536, 2),
                ("inches_to_cm", "inches", "centimetres", 2.54, 1),
                ("feet_to_metres", "feet", "metres", 0.3048, 3),
                ("gallons_to_litres", "gallons", "litres", 3.785, 2),
                ("ounces_to_grams", "ounces", "grams", 28.35, 1),
                ("yards_to_metres", "yards", "metres", 0.9144, 2),
                ("knots_to_kmh", "knots", "kilometres per hour", 1.852, 1),
                ("acres_to_hectares", "acres", "hectares", 0.4047, 3),
                ("cups_to_ml", "cups", "millilitres", 236.6, 0),
                ("euros_to_dollars", "euros", "dollars", 1.08, 2),
                ("nautical_miles_to_km", "nautical miles", "kilometres", 1.852, 3),
                ("kmh_to_mph", "kilometres per hour", "miles per hour", 0.6214, 1),
                ("calories_to_joules", "calories", "joules", 4.184, 2),
                ("horsepower_to_kw", "horsepower", "kilowatts", 0.7355, 2),
                ("stones_to_kg", "stones", "kilograms", 6.35, 1),
                ("bars_to_psi", "bars", "psi", 14.504, 2),
                ("carats_to_grams", "carats", "grams", 0.2, 3),
            )
        ],
        phrasings="""
Write a function `$name` that converts $source to $target. Multiply by $factor and round to $decimals.

How do I turn $source into $target in Python? 1 of the first is $factor of the second; the result should be
rounded to $decimals. Name: `$name`.

I need `$name(value)`: value times $factor, rounded with `round(..., $digits)`.

Please implement `$name`, a conversion from $source to $target with the factor $factor and $decimals in the
result.

Given an amount in $source, return the amount in $target, rounded to $decimals (factor: $factor). Use the name
`$name`.

unit conversion helper wanted: `$name(value)`, $source in, $target out, factor $factor, rounded to $decimals
""",
        answer="""
def $name(value: float) -> float:
    return round(value * $factor, $digits)
""",
        tests=lambda s: calls(
            s["name"],
            lambda value: float(format(s["factor"] * value, f".{s['digits']}f")),
            (10,),
            (3.7,),
            (0,),
            (128.0,),
        ),
    ),
    Family(
        topic="numbers",
        name="count-divisions",
        settings=[
            s | {"name": f"divisions_by_{s['divisor']}_to_{s['stop']}"}
            for s in grid(divisor=[2, 3, 4, 5, 7, 10], stop=[1, 2, 5, 20])
        ],
        phrasings="""
Write a function `$name` that counts how often you can replace a number by number // $divisor until it is no
longer greater than $stop.

How many integer divisions by $divisor does it take to bring n down to $stop or less? Please answer with a
function `$name`.

I need `$name(n)`. While n is above $stop, divide it by $divisor (whole-number division) and count the steps;
return the count.

Please implement `$name` with a while loop: n //= $divisor as long as n > $stop. The result is the number of
rounds.

Given a positive int n, return the number of times the loop "n becomes n // $divisor" runs before n <= $stop
holds. Name it `$name`.

A number n is divided by $divisor again and again, rounding down each time, until $stop or less is left.
`$name(n)` should tell how many divisions that takes.
""",
        answer="""
def $name(n: int) -> int:
    steps = 0
    while n > $stop:
        n //= $divisor
        steps += 1
    return steps
""",
        tests=_division_tests,
    ),
    Family(
        topic="numbers",
        name="round-to-step",
        settings=[
            s
            | {"name": f"round_{s['way']}_to_{s['step']}"}
            | {"minus": "-" if s["way"] == "up" else "", "inner": "-value" if s["way"] == "up" else "value"}
            | {"least": "smallest" if s["way"] == "up" else "largest"}
            | {"bound": "not below" if s["way"] == "up" else "not above"}
            for s in grid(way=["up", "down"], step=[3, 4, 5, 6, 8, 10, 12, 15, 25])
        ],
        phrasings="""
Write a function `$name` that rounds an integer $way to a multiple of $step.

How do I round a whole number $way to the next multiple of $step? Multiples themselves should stay as they
are. Name it `$name`.

I need `$name(value)`: the $least multiple of $step that is $bound the value. It must work for negative values
too.

Please implement `$name` with floor division only, no floats. The value is rounded $way to a multiple of
$step.

Given an int, return the $least multiple of $step which is $bound it. The function is named `$name`.

We sell in packs of $step. `$name(value)` has to round any amount $way to full packs, and return the number of
pieces in them.
""",
        answer="""
def $name(value: int) -> int:
    return $minus($inner // $step) * $step
""",
        tests=_round_tests,
    ),
    Family(
        topic="numbers",
        name="number-in-base",
        settings=[
            s | {"base": len(s["symbols"])}
            for s in table(
                "name symbols",
                ("to_binary", "01"),
                ("to_ternary", "012"),
                ("to_base_four", "0123"),
                ("to_base_five", "01234"),
                ("to_base_six", "012345"),
                ("to_base_seven", "0123456"),
                ("to_octal", "01234567"),
                ("to_base_nine", "012345678"),
                ("to_twelve", "0123456789AB"),
                ("to_hex", "0123456789abcdef"),
                ("to_dots", ".:"),
                ("to_ab_code", "ab"),
                ("to_xyz_code", "xyz"),
                ("to_dna", "ACGT"),
                ("to_vowels", "aeiou"),
                ("to_marks", "-+*"),
                ("to_knocks", "_#"),
                ("to_notes", "CDEFGAH"),
            )
        ],
        phrasings="""
Write a function `$name` that writes a non-negative integer in base $base, with the characters of "$symbols"
as digits (first one = 0). Zero gives the first character.

How do I convert an int to base $base when the digits are "$symbols"? The result for 0 is the first of these
characters. Call it `$name`.

I need `$name(number)`: repeated `divmod` by $base, each remainder looked up in "$symbols", most significant
digit first. For 0 return the first symbol.

Please implement `$name`, which encodes an int >= 0 as a text over the alphabet "$symbols" (a number system
with $base digits). Note that 0 is one digit long.

Given a number from 0 upwards, return its representation in base $base, where "$symbols" are the digits in
rising order. Zero is a single digit. Name the function `$name`.

number systems again: `$name(number)` should return a string in base $base using the digit set "$symbols", and
must not be empty for 0
""",
        answer="""
def $name(number: int) -> str:
    text = ""
    while number:
        number, rest = divmod(number, $base)
        text = "$symbols"[rest] + text
    return text or "$symbols"[0]
""",
        tests=lambda s: calls(
            s["name"], lambda number: _in_base(number, s["symbols"]), (0,), (1,), (45,), (1000,), (731,)
        ),
    ),
    Family(
        topic="numbers",
        name="label-by-size",
        settings=[
            s | {"list": '"{a}" below {low}, "{b}" below {high} and "{c}" from there on'.format(**s)}
            for s in table(
                "name low high a b c",
                ("rate_temperature", 10, 25, "cold", "mild", "hot"),
                ("rate_wind", 20, 60, "calm", "windy", "storm"),
                ("rate_size", 40, 52, "small", "medium", "large"),
                ("rate_price", 15, 80, "cheap", "fair", "expensive"),
                ("rate_age", 13, 20, "child", "teenager", "adult"),
                ("rate_load", 50, 90, "ok", "busy", "critical"),
                ("rate_score", 30, 70, "fail", "pass", "excellent"),
                ("rate_noise", 35, 85, "quiet", "normal", "loud"),
                ("rate_rain", 2, 10, "dry", "wet", "flood"),
                ("rate_stock", 5, 100, "low", "enough", "full"),
                ("rate_speed", 31, 51, "slow", "legal", "fast"),
                ("rate_traffic", 100, 900, "free", "dense", "jam"),
                ("rate_depth", 3, 40, "shallow", "deep", "abyss"),
                ("rate_parcel", 2, 20, "letter", "parcel", "freight"),
                ("rate_delay", 5, 30, "on time", "late", "very late"),
                ("rate_height", 100, 1500, "plain", "hill", "mountain"),
                ("rate_team", 4, 12, "crew", "group", "crowd"),
                ("rate_light", 50, 500, "dark", "dim", "bright"),
            )
        ],
        phrasings="""
Write a function `$name` that returns a word for a number: $list.

How do I map a value to one of three words? It should be $list. The function is `$name`.

I need `$name(value)` with two limits, $low and $high. It returns $list.

Please implement `$name` with plain if statements. Values give $list.

Given an int, return "$a" if it is less than $low, "$b" if it is less than $high, and "$c" otherwise. Call it
`$name`.

For a dashboard: under $low show "$a", from $low to under $high show "$b", everything else is "$c". Please
write `$name(value)`.
""",
        answer="""
def $name(value: int) -> str:
    if value < $low:
        return "$a"
    if value < $high:
        return "$b"
    return "$c"
""",
        tests=lambda s: calls(
            s["name"],
            lambda value: (s["a"], s["b"], s["c"])[(value >= s["low"]) + (value >= s["high"])],
            (s["low"] - 1,),
            (s["low"],),
            (s["high"] - 1,),
            (s["high"],),
        ),
    ),
    Family(
        topic="numbers",
        name="grow-yearly",
        settings=[
            s | {"name": f"{s['noun']}_after"}
            for s in table(
                "noun rate op fee",
                ("savings", 5, "+", 10),
                ("debt", 8, "+", 25),
                ("balance", 3, "-", 12),
                ("rent", 2, "+", 5),
                ("rabbits", 50, "-", 4),
                ("members", 10, "-", 15),
                ("visitors", 20, "+", 100),
                ("fund", 4, "-", 60),
                ("forest", 7, "-", 30),
                ("stock", 12, "+", 1),
                ("city_size", 1, "+", 250),
                ("bees", 30, "-", 20),
                ("credit", 9, "-", 200),
                ("budget", 6, "+", 40),
                ("fans", 15, "+", 8),
                ("loan", 11, "-", 90),
                ("herd", 25, "-", 7),
                ("pool", 2, "-", 3),
            )
        ],
        phrasings="""
Write a function `$name(amount, years)`: each year amount * $rate // 100 is added and then the fixed change
$op $fee follows. Return the final amount as an int.

How do I simulate yearly growth of $rate percent (rounded down to whole numbers) followed by $op $fee per
year? The function `$name` takes `amount` and `years`.

I need `$name(amount, years)`. In every year: amount = amount + amount * $rate // 100 $op $fee. It returns the
amount after that many years.

Please implement `$name` with a for loop over the years. First the $rate % increase, as whole-number division
by 100, then $op $fee.

Given a starting amount and a number of years, return what it becomes if it grows by $rate percent a year
(integer arithmetic, rounded down) and then changes by $op $fee. Name: `$name`.

little simulation, ints only: start with amount, and repeat for each year "plus $rate % of it (// 100), then
$op $fee". call it `$name(amount, years)`
""",
        answer="""
def $name(amount: int, years: int) -> int:
    for _ in range(years):
        amount += amount * $rate // 100 $op $fee
    return amount
""",
        tests=lambda s: calls(
            s["name"],
            lambda amount, years: _grow(amount, years, s["rate"], s["fee"] if s["op"] == "+" else -s["fee"]),
            (1000, 1),
            (5000, 3),
            (777, 0),
            (2500, 5),
        ),
    ),
    Family(
        topic="numbers",
        name="fix-wrong-loop",
        settings=[
            s
            | {"name": f"{s['word']}_{s['thing']}", "sign": {"sum": "+=", "product": "*="}[s["word"]]}
            | {"start": {"sum": 0, "product": 1}[s["word"]], "wrong": {"sum": 1, "product": 0}[s["word"]]}
            for s in [
                w | t
                for w in table("word", ("sum",), ("product",))
                for t in table(
                    "thing test keep",
                    ("of_positives", "n > 0", lambda n: n >= 1),
                    ("of_odds", "n % 2 == 1", lambda n: bool(n & 1)),
                    ("of_evens", "n % 2 == 0", lambda n: not n & 1),
                    ("above_three", "n > 3", lambda n: n >= 4),
                    ("up_to_ten", "n <= 10", lambda n: n < 11),
                    ("of_negatives", "n < 0", lambda n: n <= -1),
                    ("without_fives", "n != 5", lambda n: n - 5 != 0),
                    ("of_thirds", "n % 3 == 0", lambda n: n // 3 * 3 == n),
                )
            ]
        ],
        phrasings="""
This function `$name` should return the $word of the numbers with `$test`, but the result is wrong. Please
correct it.

My code gives wrong results: `$name` is meant to compute the $word over all n where `$test`. Where are the
mistakes? Show the fixed function.

Fix the bugs in `$name`. Expected: the $word of all list elements that satisfy `$test`.

Two things are off in `$name`: the start value, and it returns too early. It should give the $word of the
numbers with `$test`.

Why does `$name` stop after the first match? Correct it, start value included, so that it computes the $word
of all n with `$test`.

Can you debug this for me? I want `$name` to give the $word of every n in the list for which `$test` holds.
""",
        input="""
def $name(numbers: list[int]) -> int:
    total = $wrong
    for n in numbers:
        if $test:
            total $sign n
            return total
""",
        answer="""
def $name(numbers: list[int]) -> int:
    total = $start
    for n in numbers:
        if $test:
            total $sign n
    return total
""",
        tests=lambda s: calls(
            s["name"],
            lambda numbers: GATHERERS[s["word"]](n for n in numbers if s["keep"](n)),
            ([4, 7, -2, 12, 3],),
            ([],),
            ([5, 6, -9, 11],),
            ([8, 5],),
        ),
    ),
)


def _grow(amount: int, years: int, rate: int, fee: int) -> int:
    return amount if years == 0 else _grow(amount + amount * rate // 100 + fee, years - 1, rate, fee)
