"""Tasks on sets."""

from authoring.python_qa.family import METHODS, Case, Family, Setting, calls, table

BASICS = {
    "&": "in both lists",
    "|": "in at least one list",
    "-": "in the first but not in the second list",
    "^": "in exactly one list",
}

ALPHABET_SAMPLE = "0178aAbcCgGtTuUdDfFIVXeE+-.# LRNSWHz6"


def _pair_tests(setting: Setting) -> list[Case]:
    op, fold = setting["op"], setting["fold"]

    def oracle(first: list[str], second: list[str]) -> list[str]:
        left, right = list(map(fold, first)), list(map(fold, second))
        wanted = {"&": (2,), "|": (1, 2, 3), "-": (1,), "^": (1, 3)}[op]
        state = {x: 1 + (x in right) if x in left else 3 for x in left + right}
        return sorted(x for x in state if state[x] in wanted)

    return calls(
        setting["name"],
        oracle,
        (["Tea", "milk ", "jam"], ["tea", "milk", "ham"]),
        (["a", "b", "c", "C"], ["b", "c", "d"]),
        ([" x"], []),
        ([], ["Yes", "no"]),
    )


FAMILIES = (
    Family(
        topic="sets",
        name="combine-two-lists",
        settings=[
            s | {"op": op, "text": text, "name": f"{noun}_{s['word']}"}
            for s in table(
                "word code how fold",
                ("lower", "lower", "in lower case", lambda x: "".join(c.lower() for c in x)),
                ("upper", "upper", "in upper case", lambda x: "".join(c.upper() for c in x)),
                ("stripped", "strip", "without surrounding spaces", lambda x: x.lstrip().rstrip()),
                (
                    "titled",
                    "title",
                    "in title case",
                    lambda x: x[:1].upper() + x[1:].lower() if x[0] != " " else x[:1] + x[1:].capitalize(),
                ),
                ("folded", "casefold", "case-folded", lambda x: x.upper().lower()),
            )
            for (op, text), noun in zip(
                BASICS.items(), ["common", "all_names", "only_first", "not_shared"], strict=True
            )
        ],
        phrasings="""
Write a function `$name` that takes two lists of strings and returns, sorted, the strings that are $text.
Compare (and return) them $how.

I have two lists of names. How do I get the names that are $text, when everything should be taken $how first?
A sorted list, please. The function is called `$name`.

I need `$name(first, second)`. Turn both lists into sets with each string $how (`.$code()`), combine them with
`$op` and return the result as a sorted list.

Please implement `$name` with set comprehensions and the operator `$op`; all strings go through `.$code()`
before. Return a sorted list.

Given two lists of words, find those that are $text, taking all words $how. The result is a sorted list
without duplicates. Name it `$name`.

Two guest lists, messy spelling. Which entries are $text, if I take all of them $how? Sorted list, function
name `$name`.
""",
        answer="""
def $name(first: list[str], second: list[str]) -> list[str]:
    return sorted({x.$code() for x in first} $op {x.$code() for x in second})
""",
        tests=_pair_tests,
    ),
    Family(
        topic="sets",
        name="count-distinct-parts",
        settings=[
            s
            | {
                "name": f"distinct_{s['things']}",
                "how": "ignoring case" if s["case"] == "lower" else "ignoring spaces around them",
            }
            for s in table(
                "things sep case",
                ("words", " ", "lower"),
                ("tags", ",", "lower"),
                ("names", ";", "strip"),
                ("colors", "/", "lower"),
                ("cities", ",", "strip"),
                ("codes", "-", "lower"),
                ("keys", "&", "strip"),
                ("authors", ";", "lower"),
                ("folders", "/", "strip"),
                ("rooms", "|", "lower"),
                ("teams", "|", "strip"),
                ("plants", "+", "lower"),
                ("steps", ">", "strip"),
                ("parts", ":", "lower"),
                ("units", "*", "strip"),
                ("labels", "#", "lower"),
                ("hosts", " ", "strip"),
                ("songs", "_", "lower"),
            )
        ],
        phrasings="""
Write a function `$name` that counts how many different $things a text contains. They are separated by "$sep";
compare them $how.

How do I count the distinct $things in a string like "a${sep}b${sep}a"? The separator is "$sep" and the
comparison works $how. Name: `$name`.

I need `$name(text)`: split at "$sep", call `.$case()` on each part and return the number of different
results.

Please implement `$name` with a set comprehension. The text is split by "$sep", and parts are compared $how,
i.e. after `.$case()`.

Given a text whose parts are divided by "$sep", return how many unique parts there are, $how. The function is
named `$name`.

number of unique $things in a "$sep"-separated string ($how)? `$name(text)` should return an int
""",
        answer="""
def $name(text: str) -> int:
    return len({part.$case() for part in text.split("$sep")})
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: len(dict.fromkeys(METHODS[s["case"]](p) for p in text.split(s["sep"]))),
            (s["sep"].join(["Oak", "oak", "elm", "Elm ", "oak"]),),
            ("one",),
            (s["sep"].join(["x", "X", "y\t", "y"]),),
            ("a b,c;d/e-f&g|h+i>j:k*l#m_n a,b",),
        ),
    ),
    Family(
        topic="sets",
        name="first-repeat",
        settings=table(
            "name code text fold kind",
            (
                "first_repeated_word",
                "item.lower()",
                "compared in lower case",
                lambda x: x.upper().lower(),
                "str",
            ),
            (
                "first_repeated_trimmed",
                "item.strip()",
                "compared without outer spaces",
                lambda x: x.lstrip().rstrip(),
                "str",
            ),
            (
                "first_same_start",
                "item[:1]",
                "compared by their first character",
                lambda x: x[0] if x else "",
                "str",
            ),
            (
                "first_same_prefix",
                "item[:2]",
                "compared by their first two characters",
                lambda x: x[0:2],
                "str",
            ),
            ("first_same_end", "item[-1:]", "compared by their last character", lambda x: x[::-1][:1], "str"),
            ("first_same_length", "len(item)", "compared by length", lambda x: sum(1 for _ in x), "str"),
            (
                "first_same_letters",
                '"".join(sorted(item))',
                "compared by their sorted letters",
                lambda x: tuple(sorted(x)),
                "str",
            ),
            ("first_same_size", "abs(item)", "compared by absolute value", lambda x: max(x, -x), "int"),
            ("first_same_last_digit", "item % 10", "compared modulo 10", lambda x: x - x // 10 * 10, "int"),
            ("first_same_ten", "item // 10", "compared by item // 10", lambda x: (x - x % 10) / 10, "int"),
            ("first_same_half", "item // 2", "compared by item // 2", lambda x: (x - x % 2) / 2, "int"),
            ("first_same_rest", "item % 7", "compared modulo 7", lambda x: x - x // 7 * 7, "int"),
            ("first_same_fifth", "item % 5", "compared modulo 5", lambda x: x - x // 5 * 5, "int"),
            (
                "first_same_hundred",
                "item // 100",
                "compared by item // 100",
                lambda x: (x - x % 100) / 100,
                "int",
            ),
            (
                "first_same_upper",
                "item.upper()",
                "compared in upper case",
                lambda x: "".join(c.upper() for c in x),
                "str",
            ),
            ("first_same_square", "item ** 2 % 9", "compared by item ** 2 % 9", lambda x: x * x % 9, "int"),
            (
                "first_same_middle",
                "item[1:-1]",
                "compared without their first and last character",
                lambda x: x[1 : max(len(x) - 1, 0)],
                "str",
            ),
            (
                "first_same_name",
                "item.split()[0]",
                "compared by their first word",
                lambda x: x.strip().split(" ")[0],
                "str",
            ),
        ),
        phrasings="""
Write a function `$name` that returns the first item of a list which repeats an earlier one, $text. If there
is none, return None.

How do I find the first duplicate in a list, where items are $text? Return the second of the two items, or
None. Call it `$name`.

I need `$name(items)`: go through the list, remember `$code` of each item in a set, and return the first item
whose key was already there (None if that never happens).

Please implement `$name`. Two items count as equal if `$code` is equal; the result is the first item that has
an equal one before it, or None.

Given a list of $kind values $text, return the earliest one that has been seen before, else None. The function
is named `$name`.

duplicates again :) `$name(items)` should stop at the first item that equals a previous one when $text, and
return it. None if all differ.
""",
        answer="""
def $name(items: list[$kind]) -> $kind | None:
    seen = set()
    for item in items:
        if $code in seen:
            return item
        seen.add($code)
    return None
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: next(
                (x for i, x in enumerate(items) if s["fold"](x) in [s["fold"](y) for y in items[:i]]), None
            ),
            *(
                [
                    (["stone", "Bat", " oak", "tab", "oak", "sTone", "OAK", "Bat x", "cbat"],),
                    (["abc", "xbz", "Mint", "cabinet", "able", "mint"],),
                    (["one a", "three", "two b", "two c", "TWO B", "b two"],),
                    (["word"],),
                ]
                if s["kind"] == "str"
                else [
                    ([410, 23, 1508, -23, 56, 2, 57, 99, 91, 33],),
                    ([5, 120, 49, 1000, 13, 42, 170, 12, 27],),
                    ([1, 30, 700, 2500, 705, 31, 9],),
                    ([8],),
                ]
            ),
        ),
    ),
    Family(
        topic="sets",
        name="missing-fields",
        settings=[
            s | {"name": f"missing_in_{s['thing']}"}
            for s in table(
                "thing a b c",
                ("order", "id", "customer", "total"),
                ("user", "name", "email", "age"),
                ("event", "title", "date", "place"),
                ("invoice", "number", "amount", "due"),
                ("recipe", "title", "steps", "minutes"),
                ("ticket", "seat", "row", "price"),
                ("address", "street", "city", "zip"),
                ("book", "isbn", "author", "year"),
                ("config", "host", "port", "user"),
                ("track", "artist", "song", "length"),
                ("parcel", "sender", "weight", "target"),
                ("flight", "code", "gate", "time"),
                ("photo", "width", "height", "format"),
                ("plant", "name", "water", "light"),
                ("match", "home", "away", "score"),
                ("job", "role", "salary", "start"),
                ("movie", "title", "year", "genre"),
                ("lesson", "topic", "room", "teacher"),
            )
        ],
        phrasings="""
Write a function `$name` that returns a sorted list of the required keys "$a", "$b" and "$c" that a dict
lacks.

How do I check which of the fields "$a", "$b", "$c" are missing in a dict? I want them as a sorted list from a
function called `$name`.

I need `$name($thing)`: the names out of "$a", "$b", "$c" that are not keys of the dict, in alphabetical
order. Nothing missing: [].

Please implement `$name` with a set difference. Required are "$a", "$b" and "$c"; other keys don't matter.
Return a sorted list.

Given a $thing as a dict, list the mandatory fields it doesn't have ("$a", "$b" and "$c" are mandatory),
sorted by name. Function: `$name`.

validation step: every $thing needs "$a", "$b" and "$c". `$name($thing)` -> sorted list of what's not there
""",
        answer="""
def $name($thing: dict) -> list[str]:
    return sorted({"$a", "$b", "$c"} - $thing.keys())
""",
        tests=lambda s: calls(
            s["name"],
            lambda record: [k for k in sorted([s["a"], s["b"], s["c"]]) if k not in record],
            ({s["b"]: 1, "extra": 2},),
            ({},),
            ({s["c"]: None, s["a"]: 0, s["b"]: ""},),
        ),
    ),
    Family(
        topic="sets",
        name="only-allowed-characters",
        settings=[
            s | {"name": f"is_{s['word']}"}
            for s in table(
                "word allowed",
                ("binary", "01"),
                ("dna", "ACGT"),
                ("rna", "ACGU"),
                ("morse", ".- "),
                ("octal", "01234567"),
                ("hex", "0123456789abcdef"),
                ("move_list", "LRUD"),
                ("tally", "I"),
                ("roman", "IVXLCDM"),
                ("dice_log", "123456"),
                ("phone", "0123456789+ "),
                ("card_suits", "SHDC"),
                ("sum_text", "0123456789+"),
                ("maze", "#. "),
                ("compass", "NESW"),
                ("vowel_word", "aeiou"),
                ("grades", "ABCDF"),
                ("key_word", "asdfghjkl"),
            )
        ],
        phrasings="""
Write a function `$name` that tells whether a text consists only of characters from "$allowed". The empty text
is fine, too.

How can I check with sets that a string has no characters other than "$allowed"? Return True or False; "" is
True. Name it `$name`.

I need `$name(text)`: True if every character of the text is one of "$allowed" (also for an empty text),
otherwise False.

Please implement `$name` by comparing the set of characters of the text with the allowed set "$allowed".

Given a string, decide if it is written with the alphabet "$allowed" alone. An empty string counts as valid.
The function is called `$name`.

Validate an input field: nothing but "$allowed" may appear (upper and lower case differ, empty is okay). Can
you write `$name(text)`?
""",
        answer="""
def $name(text: str) -> bool:
    return set(text) <= set("$allowed")
""",
        tests=lambda s: [
            Case(
                f"[{s['name']}(ch) for ch in {ALPHABET_SAMPLE!r}]",
                [ch in s["allowed"] for ch in ALPHABET_SAMPLE],
            ),
            Case(f"{s['name']}({s['allowed'] * 2!r})", True),
            Case(f"{s['name']}({s['allowed'] + '?'!r})", False),
            Case(f"{s['name']}('')", True),
        ],
    ),
    Family(
        topic="sets",
        name="missing-numbers",
        settings=[
            s | {"name": f"missing_{s['things']}", "second": s["start"] + s["step"]}
            for s in table(
                "things start stop step",
                ("houses", 1, 20, 2),
                ("even_houses", 2, 20, 2),
                ("stickers", 1, 10, 1),
                ("tens", 10, 100, 10),
                ("fives", 0, 50, 5),
                ("seats", 101, 110, 1),
                ("leap_years", 2000, 2024, 4),
                ("decades", 1900, 2000, 10),
                ("pages", 1, 16, 1),
                ("quarters", 0, 45, 15),
                ("lockers", 200, 230, 3),
                ("floors", -2, 6, 1),
                ("sevens", 7, 70, 7),
                ("rounds", 3, 30, 3),
                ("channels", 1, 13, 4),
                ("exits", 0, 24, 6),
                ("hundreds", 100, 900, 100),
                ("platforms", 1, 12, 1),
            )
        ],
        phrasings="""
Write a function `$name` that returns, sorted, the numbers from $start to $stop (both possible) in steps of
$step that are not in a list.

Which of the numbers $start, $second, ... up to $stop are missing in a list? Please answer with a function
`$name` that returns a sorted list.

I need `$name(values)`: all numbers of range($start, $stop + 1, $step) that do not occur in `values`, in
rising order.

Please implement `$name` with a set difference: expected are the numbers from $start up to $stop with a
distance of $step. Return the missing ones as a sorted list.

Given a list of ints (unordered, maybe with repeats), return those members of the series $start, $second, ...,
$stop, that it lacks. Sorted, please. Name: `$name`.

I collect numbers from $start to $stop, every $step. `$name(values)` should list what I still miss, smallest
first.
""",
        answer="""
def $name(values: list[int]) -> list[int]:
    return sorted(set(range($start, $stop + 1, $step)) - set(values))
""",
        tests=lambda s: calls(
            s["name"],
            lambda values: [n for n in range(s["start"], s["stop"] + 1, s["step"]) if values.count(n) == 0],
            ([s["start"], s["start"] + s["step"], s["start"], 999],),
            (list(range(s["start"], s["stop"] + 1, s["step"]))[::-1],),
            (list(range(s["stop"], s["start"], -s["step"]))[:3],),
            ([],),
        ),
    ),
)
