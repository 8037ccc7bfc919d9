"""Tasks for the re module."""

from collections.abc import Callable

from authoring.python_qa.family import Case, Family, Setting, calls, table

CODES = table(
    "word pattern text right wrong",
    (
        "flights",
        r"[A-Z]{2}\d{3}",
        "two capital letters followed by three digits",
        ["LH123", "AB900"],
        ["A123", "lh12"],
    ),
    ("rooms", r"[A-Z]-\d{2}", "a capital letter, a dash and two digits", ["B-12", "K-07"], ["b-12", "B12"]),
    ("times", r"\d{2}:\d{2}", "two digits, a colon and two digits", ["08:15", "23:59"], ["8-15", "ab:cd"]),
    (
        "colors",
        r"#[0-9a-f]{6}",
        "a # and six characters out of 0-9 and a-f",
        ["#00ff7a", "#123456"],
        ["00ff7a", "#12G"],
    ),
    ("years", r"\d{4}", "four digits", ["1999", "2031"], ["199", "20a1"]),
    ("tickets", r"T\d{5}", "a T followed by five digits", ["T00042", "T98765"], ["T123", "t12345"]),
    ("prices", r"\d+\.\d{2}", "digits, a dot and two digits", ["12.50", "0.99"], ["12", "1,50"]),
    ("tags", r"#[a-z]+", "a # followed by lower-case letters", ["#sun", "#tea"], ["sun", "#7"]),
    ("versions", r"v\d+\.\d+", "a v, digits, a dot and digits", ["v1.0", "v12.34"], ["1.0", "v5"]),
    (
        "plates",
        r"[A-Z]{3} \d{4}",
        "three capital letters, a space and four digits",
        ["ABC 1234", "XYZ 0007"],
        ["AB 1234", "ABC1234"],
    ),
    (
        "variables",
        r"\$[a-z]+",
        "a dollar sign followed by lower-case letters",
        ["$home", "$x"],
        ["home", "$9"],
    ),
    ("mentions", r"@[a-z]+", "an @ followed by lower-case letters", ["@eva", "@bo"], ["eva", "@7"]),
    ("coordinates", r"\d+,\d+", "digits, a comma and digits", ["3,4", "10,20"], ["3;4", "a,b"]),
    ("grades", r"[A-F][+-]", "a letter from A to F and a plus or minus sign", ["A+", "C-"], ["G+", "B"]),
    ("bits", r"0b[01]+", "0b followed by zeros and ones", ["0b101", "0b0"], ["b101", "0b2"]),
    ("sizes", r"\d+x\d+", "digits, an x and digits", ["3x4", "100x20"], ["3 4", "x5"]),
    ("keys", r"<[a-z]+>", "lower-case letters in angle brackets", ["<tab>", "<esc>"], ["tab", "<9>"]),
    ("percents", r"\d+%", "digits followed by a percent sign", ["5%", "100%"], ["5", "%"]),
)


def _find_tests(setting: Setting) -> list[Case]:
    right, wrong = setting["right"], setting["wrong"]
    name = setting["name"]
    return [
        Case(f"{name}({f'see {right[0]} and {right[1]}!'!r})", right),
        Case(f"{name}({f'not {wrong[0]} nor {wrong[1]}'!r})", []),
        Case(f"{name}({f'({right[1]}) {wrong[0]} {right[1]}'!r})", [right[1], right[1]]),
        Case(f"{name}('')", []),
    ]


def _match_tests(setting: Setting) -> list[Case]:
    return [
        *[Case(f"{setting['name']}({text!r})", True) for text in setting["right"]],
        *[Case(f"{setting['name']}({text!r})", False) for text in setting["wrong"]],
        Case(f"{setting['name']}({setting['right'][0] + ' '!r})", False),
    ]


def _change_numbers(text: str, change: Callable[[int], int]) -> str:
    result, digits = "", ""
    for ch in text + "\0":
        if ch in "0123456789":
            digits += ch
            continue
        result += str(change(int(digits))) if digits else ""
        result, digits = result + ch, ""
    return result[:-1]


FAMILIES = (
    Family(
        topic="regex",
        name="find-all-codes",
        settings=[s | {"name": f"find_{s['word']}"} for s in CODES],
        phrasings="""
Write a function `$name` that returns a list of all places in a text that match $text. Use the regex
`$pattern`.

How do I extract everything of the form "$text" from a string? I think the pattern is `$pattern`. The function
should be called `$name` and return a list.

I need `$name(text)`: all matches of `$pattern`, in order of appearance, as a list of strings.

Please implement `$name` with `re.findall`. It looks for $text, that is `$pattern`.

Given a text, return every match of the regular expression `$pattern` ($text). Name: `$name`; the result is a
list, empty if nothing matches.

pull all $word out of a text, a match being $text (`$pattern`). what does `$name(text)` look like?
""",
        answer="""
import re


def $name(text: str) -> list[str]:
    return re.findall(r"$pattern", text)
""",
        tests=_find_tests,
    ),
    Family(
        topic="regex",
        name="whole-text-matches",
        settings=[s | {"name": f"looks_like_{s['word'][:-1]}"} for s in CODES],
        phrasings="""
Write a function `$name` that checks if a whole text consists of $text. The regex is `$pattern`.

How do I test that a string matches `$pattern` from start to end? It should be $text and nothing else. Return
a bool from `$name`.

I need `$name(text)` to validate input: True only if the complete text is $text (pattern `$pattern`).

Please implement `$name` with `re.fullmatch` and the pattern `$pattern`. The result is True or False.

Given a string, tell whether it is exactly $text. Use the regular expression `$pattern` and the function name
`$name`.

is there an easy check for "$text", with no other characters before or after? `$name(text)` -> bool, regex
`$pattern`
""",
        answer="""
import re


def $name(text: str) -> bool:
    return re.fullmatch(r"$pattern", text) is not None
""",
        tests=_match_tests,
    ),
    Family(
        topic="regex",
        name="number-after-word",
        settings=table(
            "name before default",
            ("order_number", "order #", 0),
            ("page_number", "page ", 1),
            ("port_of", "port=", 80),
            ("room_of", "room ", -1),
            ("retry_count", "retries: ", 3),
            ("user_id", "user_id=", 0),
            ("invoice_number", "INV-", -1),
            ("temperature_of", "temp:", 20),
            ("width_of", "width=", 100),
            ("chapter_of", "Chapter ", 1),
            ("level_of", "level ", 0),
            ("seat_of", "seat ", -1),
            ("ticket_id", "ticket:", 0),
            ("seed_of", "seed=", 42),
            ("line_of", "line ", 1),
            ("volume_of", "vol. ", 0),
            ("track_of", "track-", -1),
            ("size_of", "size: ", 10),
        ),
        phrasings="""
Write a function `$name` that finds the digits right after "$before" in a text and returns them as an int, or
$default if there are none.

How do I get the number behind "$before" out of a string with `re.search`? Without a match the result is
$default. Name it `$name`.

I need `$name(text)`: the integer that directly follows "$before" (first occurrence with digits), otherwise
$default.

Please implement `$name` with a regex group. It searches for "$before" plus digits and returns the digits as
int; no match means $default.

Given a text that may contain something like "${before}25", return that number (25) as an int. Return $default
when it is missing. The function is called `$name`.

extract the number that comes after "$before"... int please, and $default if not found. `$name(text)`
""",
        answer="""
import re


def $name(text: str) -> int:
    match = re.search(r"$before(\\d+)", text)
    return int(match.group(1)) if match else $default
""",
        tests=lambda s: [
            Case(f"{s['name']}('see {s['before']}25 now')", 25),
            Case(f"{s['name']}('{s['before']}7 and {s['before']}8')", 7),
            Case(f"{s['name']}('{s['before']}none, 12')", s["default"]),
            Case(f"{s['name']}('')", s["default"]),
        ],
    ),
    Family(
        topic="regex",
        name="split-at-any",
        settings=[
            s | {"shown": " ".join(s["marks"]), "name": f"split_{s['things']}"}
            for s in table(
                "things marks",
                ("names", ",;"),
                ("words", ",.!?"),
                ("tags", "#,"),
                ("paths", "/:"),
                ("times", ":.h"),
                ("parts", "-_"),
                ("sums", "+="),
                ("fields", "|;"),
                ("terms", "+*"),
                ("codes", "-/"),
                ("cities", ";/"),
                ("keys", "._"),
                ("items", "&,"),
                ("mails", ";:,"),
                ("chords", "|/-"),
                ("steps", ">;"),
                ("scores", ":-"),
                ("lists", ",|/"),
            )
        ],
        phrasings="""
Write a function `$name` that splits a text at each of the characters $shown and returns the non-empty parts
without surrounding spaces.

How do I split a string at several separators ($shown) at once? Strip the parts and leave out empty ones. Call
it `$name`.

I need `$name(text)` with `re.split`: separators are the characters $shown, parts get stripped, and empty
parts vanish.

Please implement `$name`. Any of the characters $shown ends a part; the result is the list of stripped parts
that are not empty.

Given a text in which people used $shown as separators, return the list of clean parts (no blanks at the ends,
no empty strings). Function name: `$name`.

messy input, separated by any of $shown. `$name(text)` should return the stripped pieces and skip what is
empty
""",
        answer="""
import re


def $name(text: str) -> list[str]:
    parts = re.split(r"[$marks]", text)
    return [part.strip() for part in parts if part.strip()]
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: [
                piece.strip()
                for piece in "".join("\0" if ch in s["marks"] else ch for ch in text).split("\0")
                if piece.strip() != ""
            ],
            (f"a {s['marks'][0]} b{s['marks'][-1]}c{s['marks'][0]}",),
            (f"{s['marks']} one two ",),
            ("",),
            ("k,l;m.n!o?p#q/r:s-t_u+v=w|x*y&z>1h2",),
        ),
    ),
    Family(
        topic="regex",
        name="change-numbers-in-text",
        settings=table(
            "name code text change",
            ("double_numbers", "n * 2", "doubled", lambda n: n + n),
            ("raise_numbers", "n + 1", "increased by 1", lambda n: n - -1),
            ("square_numbers", "n ** 2", "squared", lambda n: n * n),
            ("halve_numbers", "n // 2", "halved (rounded down)", lambda n: (n - n % 2) // 2),
            ("tenfold_numbers", "n * 10", "multiplied by 10", lambda n: n * 5 * 2),
            ("shift_numbers", "n + 100", "increased by 100", lambda n: n - -100),
            ("lower_numbers", "n - 3", "reduced by 3", lambda n: n + -3),
            ("last_digits", "n % 10", "replaced by n % 10", lambda n: n - n // 10 * 10),
            ("cap_numbers", "min(n, 50)", "limited to 50", lambda n: n if n < 50 else 50),
            ("lift_numbers", "max(n, 10)", "raised to at least 10", lambda n: n if n > 10 else 10),
            ("round_numbers", "n // 10 * 10", "rounded down to tens", lambda n: n - n % 10),
            ("mirror_numbers", "100 - n", "replaced by 100 - n", lambda n: -n + 100),
            ("triple_numbers", "n * 3", "tripled", lambda n: n + n + n),
            ("parity_numbers", "n % 2", "replaced by n % 2", lambda n: n & 1),
            ("cents_to_euros", "n // 100", "divided by 100 (rounded down)", lambda n: (n - n % 100) // 100),
            ("count_up_by_five", "n + 5", "increased by 5", lambda n: n - -5),
            ("minus_numbers", "-n", "negated", lambda n: 0 - n),
            ("clock_numbers", "n % 12", "replaced by n % 12", lambda n: n - n // 12 * 12),
        ),
        phrasings="""
Write a function `$name` that returns the text with every number (a run of digits) $text.

How do I use `re.sub` with a function to change the numbers in a text? Each run of digits n should become
`$code`. Name it `$name`.

I need `$name(text)`: every integer n made of digits is replaced by the value of `$code`; all other characters
stay.

Please implement `$name` with `re.sub` and a callback. Numbers in the text come out $text.

Given a string, find its runs of digits and put `$code` in place of each number n. The function is called
`$name`.

recipe text, all numbers should be $text, the words must not change. can you do `$name(text)` with a regex?
""",
        answer="""
import re


def $name(text: str) -> str:
    def change(match: re.Match) -> str:
        n = int(match.group())
        return str($code)

    return re.sub(r"\\d+", change, text)
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: _change_numbers(text, s["change"]),
            ("3 eggs, 250 g flour",),
            ("no digits",),
            ("7x13=91",),
            ("",),
        ),
    ),
)
