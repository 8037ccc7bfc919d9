"""Tasks to write or extend a class."""

from authoring.python_qa.family import OPERATORS, Case, Family, Setting, table


def _bounded_tests(setting: Setting) -> list[Case]:
    cap, put, name = setting["cap"], setting["put"], setting["name"]
    many = cap + 2
    return [
        Case(
            f"(lambda b: [b.{put}(i) for i in range({many})] + b.items)({name}())",
            [True] * cap + [False, False] + list(range(cap)),
        ),
        Case(f"{name}().items", []),
        Case(f"(lambda b: [b.{put}('x'), len(b.items)])({name}())", [True, 1]),
        Case(f"(lambda b, c: [b.{put}(1), c.items])({name}(), {name}())", [True, []]),
    ]


FAMILIES = (
    Family(
        topic="classes",
        name="dataclass-with-method",
        settings=[
            s | {"verb": {"+": "sum", "-": "difference", "*": "product", "//": "whole-number quotient"}[s["op"]]}
            for s in table(
                "name a b method op",
                ("Rectangle", "width", "height", "area", "*"),
                ("OrderLine", "price", "quantity", "total", "*"),
                ("Match", "home", "away", "goals", "+"),
                ("Account", "income", "expenses", "saldo", "-"),
                ("Trip", "distance", "hours", "speed", "//"),
                ("Family", "adults", "children", "size", "+"),
                ("Shift", "end", "start", "length", "-"),
                ("Pizza", "grams", "slices", "slice_weight", "//"),
                ("Wall", "rows", "columns", "bricks", "*"),
                ("Exam", "written", "oral", "points", "+"),
                ("Stock", "delivered", "sold", "left", "-"),
                ("Bus", "seats", "standing", "capacity", "+"),
                ("Salary", "hours", "rate", "pay", "*"),
                ("Budget", "money", "days", "per_day", "//"),
                ("Climb", "summit", "base", "ascent", "-"),
                ("Lesson", "blocks", "minutes", "duration", "*"),
                ("Basket", "apples", "pears", "fruits", "+"),
                ("Book", "pages", "chapters", "chapter_length", "//"),
            )
        ],
        phrasings="""
Write a dataclass `$name` with the int fields `$a` and `$b` (in this order) and a method `$method` that
returns $a $op $b.

How do I make a dataclass `$name`? It has two ints, `$a` and `$b`, and the method `$method()` gives their
$verb ($a $op $b).

I need a small class `$name`: fields `$a` and `$b`, both int, and a method `$method` for $a $op $b. Please use
`@dataclass`.

Please implement `$name` as a dataclass. After `x = $name(6, 2)`, calling `x.$method()` must return x.$a $op
x.$b; the fields are `$a` and `$b`.

Model a thing called `$name` with `dataclasses`: integers `$a` and `$b`, plus a method `$method` that computes
the $verb of `$a` and `$b`.

I always forget the dataclass syntax. `$name` should have `$a: int`, `$b: int` and a method `$method()`
returning $a $op $b.
""",
        answer="""
from dataclasses import dataclass


@dataclass
class $name:
    $a: int
    $b: int

    def $method(self) -> int:
        return self.$a $op self.$b
""",
        tests=lambda s: [
            *[
                Case(f"{s['name']}({x}, {y}).{s['method']}()", OPERATORS[s["op"]](x, y))
                for x, y in [(12, 4), (7, 3), (0, 5)]
            ],
            Case(f"{s['name']}({s['b']}=2, {s['a']}=9).{s['method']}()", OPERATORS[s["op"]](9, 2)),
            Case(f"{s['name']}(1, 2) == {s['name']}(1, 2)", True),
        ],
    ),
    Family(
        topic="classes",
        name="stepping-counter",
        settings=[
            s | {"change": "adds" if s["op"] == "+" else "subtracts" if s["op"] == "-" else "multiplies by"}
            for s in table(
                "name field start method op by",
                ("Counter", "count", 0, "step", "+", 1),
                ("Countdown", "left", 10, "tick", "-", 1),
                ("EvenCounter", "value", 0, "next", "+", 2),
                ("Doubler", "value", 1, "grow", "*", 2),
                ("Score", "points", 0, "hit", "+", 5),
                ("Fuel", "litres", 50, "burn", "-", 3),
                ("Ticket", "number", 100, "draw", "+", 1),
                ("Rabbits", "total", 2, "breed", "*", 3),
                ("Purse", "coins", 20, "pay", "-", 4),
                ("Clock", "minute", 0, "wait", "+", 15),
                ("Elevator", "floor", 0, "rise", "+", 1),
                ("Diver", "depth", 0, "sink", "-", 2),
                ("Rumor", "people", 1, "spread", "*", 4),
                ("Zoom", "percent", 100, "enlarge", "+", 25),
                ("Candle", "height", 30, "melt", "-", 6),
                ("Virus", "copies", 5, "copy", "*", 2),
                ("Page", "line", 1, "scroll", "+", 20),
                ("Battery", "charge", 80, "use", "-", 8),
            )
        ],
        phrasings="""
Write a class `$name` whose attribute `$field` starts at $start. Its method `$method` $change $by and returns
the new value.

How do I write a class that keeps a number? `$name()` begins with `$field` = $start, and each call of
`$method()` makes it `$field $op $by` and returns it.

I need a class `$name` with an attribute `$field` (initially $start) and a method `$method()` which changes
`$field` to $field $op $by and returns the result.

Please implement `$name`. The constructor takes no arguments and sets `$field` to $start; `$method()` $change
$by and returns `$field`.

Create a class named `$name` that remembers `$field`, at first $start. Every `$method()` call applies $op $by
and gives back the updated `$field`.

object that counts: `$name()` -> `$field` is $start, `.$method()` -> $op $by, returns the new `$field`. what's
the code?
""",
        answer="""
class $name:
    def __init__(self) -> None:
        self.$field = $start

    def $method(self) -> int:
        self.$field $op= $by
        return self.$field
""",
        tests=lambda s: [
            Case(f"{s['name']}().{s['field']}", s["start"]),
            Case(f"{s['name']}().{s['method']}()", OPERATORS[s["op"]](s["start"], s["by"])),
            Case(
                f"(lambda x: [x.{s['method']}() for _ in range(3)] + [x.{s['field']}])({s['name']}())",
                [
                    s["start"] * s["by"] ** k if s["op"] == "*" else s["start"] + k * int(f"{s['op']}{s['by']}")
                    for k in (1, 2, 3, 3)
                ],
            ),
        ],
    ),
    Family(
        topic="classes",
        name="bounded-container",
        settings=table(
            "name put cap",
            ("Bag", "put", 3),
            ("Shelf", "place", 5),
            ("Queue", "join", 4),
            ("Parking", "enter", 6),
            ("Backpack", "pack", 8),
            ("Basket", "add", 10),
            ("Team", "sign", 11),
            ("Boat", "board", 2),
            ("Playlist", "append", 7),
            ("Tray", "load", 4),
            ("Inbox", "receive", 9),
            ("Cage", "lock_in", 13),
            ("Table", "seat", 6),
            ("Stack", "push", 5),
            ("Garage", "park", 2),
            ("Album", "paste", 12),
            ("Drawer", "store", 3),
            ("Crew", "hire", 7),
        ),
        phrasings="""
Write a class `$name` with an empty list `items` at the start and a method `$put(item)` that appends the item
and returns True, or returns False if there are already $cap items.

How do I build a container class with room for $cap things? `$name` has a list `items`; `$put(item)` adds to
it and says True, but says False (and adds nothing) when it is full.

I need a class `$name` that holds at most $cap objects in `self.items`. The method `$put` returns whether the
item still fitted in.

Please implement `$name`. `$name().items` is [], and `$put(x)` stores x unless $cap items are stored already;
it returns True on success and otherwise False.

Create a class called `$name` for a limited list of $cap. Method: `$put(item)` -> bool, False meaning that it
was full and nothing happened. Attribute: `items`.

a `$name` with space for $cap: `.$put(item)` should append to `.items` and return True, or False once it's
full
""",
        answer="""
class $name:
    def __init__(self) -> None:
        self.items: list = []

    def $put(self, item) -> bool:
        if len(self.items) >= $cap:
            return False
        self.items.append(item)
        return True
""",
        tests=_bounded_tests,
    ),
    Family(
        topic="classes",
        name="property-in-other-unit",
        settings=[
            s | {"sign": "times" if s["op"] == "*" else "divided (whole numbers) by"}
            for s in table(
                "name a b op factor",
                ("Length", "metres", "centimetres", "*", 100),
                ("Duration", "seconds", "minutes", "//", 60),
                ("Weight", "grams", "kilos", "//", 1000),
                ("Money", "euros", "cents", "*", 100),
                ("Storage", "kilobytes", "bytes", "*", 1024),
                ("Age", "months", "years", "//", 12),
                ("Angle", "turns", "degrees", "*", 360),
                ("Eggs", "pieces", "dozens", "//", 12),
                ("Road", "kilometres", "metres", "*", 1000),
                ("Holiday", "days", "weeks", "//", 7),
                ("Volume", "litres", "millilitres", "*", 1000),
                ("Paper", "sheets", "reams", "//", 500),
                ("Plank", "feet", "inches", "*", 12),
                ("Week", "weeks", "hours", "*", 168),
                ("Text", "letters", "pages", "//", 1800),
                ("Cable", "centimetres", "metres", "//", 100),
                ("Song", "minutes", "seconds", "*", 60),
                ("Water", "glasses", "bottles", "//", 5),
            )
        ],
        phrasings="""
Write a class `$name` that is created with a number `$a` and has a read-only property `$b`, which is $a $op
$factor.

How do I add a property to a class? `$name(n)` stores n as `$a`; the property `$b` should return `$a` $sign
$factor.

I need a class `$name` with an attribute `$a` (given to the constructor) and a property `$b` that is computed
as $a $op $factor each time.

Please implement `$name` using `@property`. The constructor argument is `$a`, and `$b` equals $a $op $factor.

Create a class `$name` holding `$a`. Reading `.$b` gives `$a` $sign $factor, and it follows when `$a` is
changed later.

unit class please: `$name(5).$a` is 5 and `$name(5).$b` is 5 $op $factor, the latter as a property, not a
method
""",
        answer="""
class $name:
    def __init__(self, $a: int) -> None:
        self.$a = $a

    @property
    def $b(self) -> int:
        return self.$a $op $factor
""",
        tests=lambda s: [
            Case(f"{s['name']}(5).{s['a']}", 5),
            *[Case(f"{s['name']}({n}).{s['b']}", OPERATORS[s["op"]](n, s["factor"])) for n in (3, 0, 5000)],
            Case(
                f"(lambda x: [setattr(x, '{s['a']}', 2600), x.{s['b']}][1])({s['name']}(1))",
                OPERATORS[s["op"]](2600, s["factor"]),
            ),
        ],
    ),
    Family(
        topic="classes",
        name="show-as-text",
        settings=[
            s
            | {"pattern": s["text"].format(**{s["a"]: f"<{s['a']}>", s["b"]: f"<{s['b']}>"})}
            | {"code": s["text"].replace("{", "{self.")}
            | {"example": s["text"].format(**{s["a"]: "A", s["b"]: "B"})}
            for s in table(
                "name a b text",
                ("Point", "x", "y", "({x}, {y})"),
                ("Person", "first", "last", "{last}, {first}"),
                ("Song", "artist", "title", "{artist} - {title}"),
                ("Price", "amount", "currency", "{amount} {currency}"),
                ("Score", "home", "away", "{home}:{away}"),
                ("Book", "title", "year", "{title} ({year})"),
                ("Room", "floor", "number", "{floor}.{number}"),
                ("Mail", "user", "host", "{user}@{host}"),
                ("Card", "rank", "suit", "{rank} of {suit}"),
                ("Span", "start", "end", "[{start}..{end}]"),
                ("Size", "width", "height", "{width}x{height}"),
                ("City", "name", "country", "{name}/{country}"),
                ("Rule", "left", "right", "{left} -> {right}"),
                ("Version", "major", "minor", "v{major}.{minor}"),
                ("Pet", "kind", "name", "{name} the {kind}"),
                ("Seat", "row", "place", "row {row}, seat {place}"),
                ("Pair", "key", "value", "{key}={value}"),
                ("Share", "part", "whole", "{part} out of {whole}"),
            )
        ],
        phrasings="""
Write a class `$name` with the attributes `$a` and `$b` such that `str()` of an object gives "$pattern".

How do I control what `str(obj)` shows? My class `$name` takes `$a` and `$b` (in this order), and the text
should be "$pattern".

I need a class `$name`: constructor with `$a` and `$b`, and a `__str__` that returns "$pattern".

Please implement `$name`. For example, `str($name("A", "B"))` must be "$example"; the two arguments are stored
as `$a` and `$b`.

Create a class named `$name` whose objects print nicely. The constructor stores `$a` and `$b`, and the text
form is "$pattern".

printing an object of my class `$name` shows a memory address. `print($name("A", "B"))` should show
"$example"; the arguments are stored as `$a` and `$b`
""",
        answer="""
class $name:
    def __init__(self, $a, $b) -> None:
        self.$a = $a
        self.$b = $b

    def __str__(self) -> str:
        return f"$code"
""",
        tests=lambda s: [
            *[
                Case(
                    f"str({s['name']}({one!r}, {two!r}))",
                    s["text"].replace("{" + s["a"] + "}", str(one)).replace("{" + s["b"] + "}", str(two)),
                )
                for one, two in [("A", "B"), (3, 14), ("red", 7)]
            ],
            Case(f"{s['name']}(1, 2).{s['b']}", 2),
        ],
    ),
    Family(
        topic="classes",
        name="from-text-constructor",
        settings=[
            s | {"example": f"3{s['sep']}4"}
            for s in table(
                "name a b sep",
                ("Size", "width", "height", "x"),
                ("Score", "home", "away", ":"),
                ("Point", "x", "y", ","),
                ("Fraction", "top", "bottom", "/"),
                ("Period", "start", "end", "-"),
                ("Version", "major", "minor", "."),
                ("Time", "hours", "minutes", "h"),
                ("Price", "euros", "cents", ","),
                ("Cell", "row", "column", ";"),
                ("Mix", "water", "syrup", "+"),
                ("Odds", "win", "lose", " to "),
                ("Step", "source", "target", "->"),
                ("Seat", "row", "place", "#"),
                ("Ratio", "left", "right", " : "),
                ("Verse", "chapter", "line", ":"),
                ("Range", "low", "high", ".."),
                ("Level", "world", "stage", "_"),
                ("Dose", "pills", "days", "*"),
            )
        ],
        phrasings="""
Write a dataclass `$name` with int fields `$a` and `$b` and a class method `from_text` that builds one from a
text like "$example".

How do I add an alternative constructor? `$name.from_text("$example")` should give a `$name` with `$a` 3 and
`$b` 4 (ints, dataclass).

I need a dataclass `$name($a, $b)` that can also be made from a string: `from_text` splits it at "$sep" and
converts both parts to int.

Please implement `$name` as a dataclass with `$a: int`, `$b: int` and `@classmethod from_text(cls, text)` for
the format "$a$sep$b".

Create a dataclass called `$name` that has `$a` and `$b` as ints and can read itself from texts such as
"$example", by `$name.from_text(...)`.

`$name.from_text("12${sep}5")` -> `$a` = 12, `$b` = 5. can you write that dataclass, with a classmethod?
""",
        answer="""
from dataclasses import dataclass


@dataclass
class $name:
    $a: int
    $b: int

    @classmethod
    def from_text(cls, text: str) -> "$name":
        $a, $b = text.split("$sep")
        return cls(int($a), int($b))
""",
        tests=lambda s: [
            Case(f"{s['name']}.from_text('3{s['sep']}4').{s['a']}", 3),
            Case(f"{s['name']}.from_text('3{s['sep']}4').{s['b']}", 4),
            Case(f"{s['name']}.from_text('12{s['sep']}50') == {s['name']}(12, 50)", True),
            Case(f"{s['name']}(7, 8).{s['b']}", 8),
        ],
    ),
    Family(
        topic="classes",
        name="extend-base-class",
        settings=table(
            "name base method old new field",
            ("Dog", "Animal", "sound", "...", "woof", "name"),
            ("Truck", "Vehicle", "kind", "vehicle", "truck", "plate"),
            ("Circle", "Shape", "title", "shape", "circle", "color"),
            ("Manager", "Employee", "role", "staff", "boss", "name"),
            ("Gold", "Member", "status", "basic", "gold", "number"),
            ("Violin", "Instrument", "family", "unknown", "strings", "maker"),
            ("Wizard", "Hero", "attack", "punch", "spell", "name"),
            ("Tulip", "Plant", "season", "any", "spring", "color"),
            ("Express", "Train", "speed", "normal", "fast", "line"),
            ("Pdf", "Document", "suffix", ".txt", ".pdf", "title"),
            ("Sparrow", "Bird", "song", "peep", "chirp", "ring"),
            ("Student", "Guest", "price", "full", "half", "email"),
            ("Lake", "Water", "taste", "neutral", "fresh", "area"),
            ("Sauna", "Room", "climate", "mild", "hot", "floor"),
            ("Espresso", "Coffee", "size", "large", "small", "beans"),
            ("Night", "Shift", "pay", "plain", "extra", "hours"),
            ("Ferry", "Ship", "cargo", "goods", "cars", "port"),
            ("Sonnet", "Poem", "form", "free", "fixed", "author"),
        ),
        phrasings="""
Add a subclass `$name` to this code. Its method `$method` returns "$new". Please show base class and subclass
together.

How do I derive a class `$name` from `$base` so that `$method()` gives "$new" and the rest is inherited? Show
the complete code.

I want to extend the class below: `$name` is a `$base`, only its `$method` is "$new". Give me both classes.

Please write `$name`, a subclass of `$base`, which overrides `$method` to return "$new". Repeat the base class
in your answer.

Given this base class, complete the code with a child class `$name` that answers "$new" in `$method()`. Keep
`$base` as it is.

inheritance question: `$name($base)` should behave the same, except that `$method()` returns "$new". full code
please, base class included
""",
        input="""
class $base:
    def __init__(self, $field):
        self.$field = $field

    def $method(self):
        return "$old"
""",
        answer="""
class $base:
    def __init__(self, $field):
        self.$field = $field

    def $method(self):
        return "$old"


class $name($base):
    def $method(self):
        return "$new"
""",
        tests=lambda s: [
            Case(f"{s['name']}('q').{s['method']}()", s["new"]),
            Case(f"{s['base']}('q').{s['method']}()", s["old"]),
            Case(f"{s['name']}('q').{s['field']}", "q"),
            Case(f"issubclass({s['name']}, {s['base']})", True),
        ],
    ),
)
