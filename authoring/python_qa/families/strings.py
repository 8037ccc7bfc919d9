"""Tasks on plain strings."""

from string import ascii_lowercase

from authoring.python_qa.family import GATHERERS, METHODS, Case, Family, Setting, calls, grid, table

ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", 6: "sixth"}

LETTERS = "abcdefghijklmnopqrstuvwxyzéßABCDEFGHIJKLMNOPQRSTUVWXYZÉ"
KINDS = {
    "isdigit": ("digits", "0123456789"),
    "isalpha": ("letters", LETTERS),
    "isalnum": ("letters and digits", LETTERS + "0123456789"),
    "isupper": ("upper-case letters", "ABCDEFGHIJKLMNOPQRSTUVWXYZÉ"),
    "islower": ("lower-case letters", "abcdefghijklmnopqrstuvwxyzéß"),
    "isspace": ("whitespace characters", " \t\n"),
    "isascii": ("ASCII characters", "".join(map(chr, range(128)))),
    "isidentifier": ("letters and underscores", LETTERS + "_"),
}


def _kind_tests(setting: Setting) -> list[Case]:
    wanted = KINDS[setting["method"]][1]

    def oracle(text: str) -> str:
        return "".join(filter(lambda ch: (ch in wanted) == (setting["verb"] == "keep"), text))

    return calls(setting["name"], oracle, ("Room 12_B, Nr. 7",), ("É\tso\nß 9",), ("",), ("a_B 3é!",))


def _shift(text: str, by: int) -> str:
    turned = ascii_lowercase[by:] + ascii_lowercase[:by]
    return "".join(turned[ascii_lowercase.index(ch)] if ch in ascii_lowercase else ch for ch in text)


FAMILIES = (
    Family(
        topic="strings",
        name="count-given-characters",
        settings=table(
            "name letters",
            ("count_vowels", "aeiou"),
            ("count_vowels_and_y", "aeiouy"),
            ("count_rare_letters", "jqxz"),
            ("count_abc", "abc"),
            ("count_arrow_keys", "wasd"),
            ("count_lmn", "lmn"),
            ("count_digits", "0123456789"),
            ("count_even_digits", "02468"),
            ("count_odd_digits", "13579"),
            ("count_binary_digits", "01"),
            ("count_signs", "+-*/"),
            ("count_stops", ".,;:"),
            ("count_shouts", "!?"),
            ("count_brackets", "()[]{}"),
            ("count_comparisons", "<>="),
            ("count_markers", "#@&"),
            ("count_hissing", "szx"),
            ("count_hex_letters", "abcdef"),
            ("count_dna", "acgt"),
        ),
        phrasings="""
Write a Python function `$name` that takes a text and returns how many of its characters are one of
`$letters`. Upper and lower case count the same.

How can I count the characters of a string that belong to the set `$letters`, ignoring case? Call the function
`$name`.

I need `$name(text)`: the number of characters in `text` that are among `$letters`, with upper case treated
like lower case.

For a little word game I have to know how often any of the characters `$letters` shows up in a text. Case
doesn't matter. Please implement `$name`.

Given a string, return the total number of characters found in `$letters` (case-insensitive). The function is
called `$name`.

quick question: what's the shortest way to count all `$letters` characters in a string, capital letters
included? name it `$name`
""",
        answer="""
def $name(text: str) -> int:
    return sum(ch in "$letters" for ch in text.lower())
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: len([ch for ch in text if ch in s["letters"] + s["letters"].upper()]),
            (s["letters"] * 2 + s["letters"].upper(),),
            ("Sphinx of black quartz, judge my vow! 10 + 7 = 17; (2 * 3) <4>",),
            ("Crazy YELLOW taxi #7, 2024-08-31: a/b & c@d? 9.5 [ok]!",),
            ("",),
        ),
    ),
    Family(
        topic="strings",
        name="swap-two-characters",
        settings=table(
            "name one other",
            ("swap_a_and_o", "a", "o"),
            ("swap_dashes_and_underscores", "-", "_"),
            ("swap_dots_and_commas", ".", ","),
            ("flip_bits", "0", "1"),
            ("swap_spaces_and_underscores", " ", "_"),
            ("swap_x_and_y", "x", "y"),
            ("turn_parentheses", "(", ")"),
            ("turn_angles", "<", ">"),
            ("swap_b_and_d", "b", "d"),
            ("swap_left_right", "L", "R"),
            ("flip_signs", "+", "-"),
            ("swap_colons", ":", ";"),
            ("swap_e_and_3", "e", "3"),
            ("swap_hash_and_at", "#", "@"),
            ("swap_north_south", "N", "S"),
            ("swap_m_and_w", "m", "w"),
            ("swap_marks", "!", "?"),
            ("turn_brackets", "[", "]"),
        ),
        phrasings="""
Write a function `$name` that swaps the characters "$one" and "$other" in a string: each "$one" becomes
"$other" and each "$other" becomes "$one". Everything else stays.

How do I exchange two characters in a Python string at the same time, "$one" with "$other" and the other way
round? Name the function `$name`.

If I call `replace` twice, the second call undoes the first. I want `$name(text)` to turn every "$one" into
"$other" and every "$other" into "$one".

Please implement `$name`. It takes a text and returns it with all "$one" and "$other" exchanged for each
other.

Given a text, return a copy in which "$one" and "$other" have traded places. Use the name `$name`.

Can you give me a function `$name` that swaps "$one" and "$other" throughout a string in one go?
""",
        answer="""
def $name(text: str) -> str:
    return text.translate(str.maketrans("$one$other", "$other$one"))
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: "".join({s["one"]: s["other"], s["other"]: s["one"]}.get(ch, ch) for ch in text),
            (s["one"] + "k" + s["other"] + s["other"],),
            (s["other"] + " 7 " + s["one"],),
            ("",),
            ("home sweet home",),
        ),
    ),
    Family(
        topic="strings",
        name="keep-or-drop-kind",
        settings=[
            s
            | {"name": f"{s['verb']}_{KINDS[s['method']][0].replace(' ', '_').replace('-', '_').lower()}"}
            | {"kind": KINDS[s["method"]][0], "word": "" if s["verb"] == "keep" else "not "}
            | {"gerund": "keeping" if s["verb"] == "keep" else "dropping"}
            | {"rest": "removed" if s["verb"] == "keep" else "left as it is"}
            for s in grid(method=list(KINDS), verb=["keep", "drop"])
        ],
        phrasings="""
Write a function `$name` that goes through a string and will $verb all $kind (use `str.$method`). Everything
else is $rest.

How do I $verb the $kind of a string? I'd like a function `$name` that returns the new string, with `$method`
as the check; the rest should be $rest.

I need a helper `$name(text)` to clean up user input by $gerund $kind, as judged by `$method()`. The other
characters are $rest.

Please implement `$name`: it takes a string and uses `$method` on each character to $verb the $kind. All the
rest is $rest.

Clean a string by $gerund the $kind, with the order unchanged and the rest $rest. The function should be
called `$name` and rely on `$method`.

what's a neat way of $gerund $kind in a str? i want `$name(text)` with a generator expression and `$method`,
rest $rest
""",
        answer="""
def $name(text: str) -> str:
    return "".join(ch for ch in text if ${word}ch.$method())
""",
        tests=_kind_tests,
    ),
    Family(
        topic="strings",
        name="every-nth-character",
        settings=[
            s
            | {"name": f"every_{ORDINALS[s['step']]}_from_{ORDINALS[s['start'] + 1]}"}
            | {"next": s["start"] + s["step"], "after": s["start"] + 2 * s["step"]}
            | {"nth": ORDINALS[s["step"]], "first": ORDINALS[s["start"] + 1]}
            for s in grid(start=[0, 1, 2, 3], step=[2, 3, 4, 5, 6])
        ],
        phrasings="""
Write a function `$name` that returns every $nth character of a string, starting with the $first one.

How do I take every $nth character from a text when the $first character is where I begin? Name it `$name`.

I need `$name(text)`: begin at index $start, then jump ahead $step characters at a time, and give me the
result as a string.

Use slicing to pick the characters at positions $start, $next, $after and so on (counted from 0). The function
is `$name`.

Given a secret message where only every $nth letter matters, beginning with the $first, return the hidden
text. Please call the function `$name`.

Can you show me the slice that starts at index $start with a step of $step? Put it in `$name`, which takes a
string.
""",
        answer="""
def $name(text: str) -> str:
    return text[$start::$step]
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: "".join(text[i] for i in range(s["start"], len(text), s["step"])),
            ("abcdefghijklmnop",),
            ("0123456789",),
            ("",),
            ("xy",),
        ),
    ),
    Family(
        topic="strings",
        name="mask-most",
        settings=[
            {
                "side": "last",
                "n": n,
                "mark": mark,
                "name": name,
                "thing": thing,
                "code": f'"{mark}" * (len(text) - {n}) + text[-{n}:]',
            }
            for n, mark, name, thing in [
                (4, "*", "mask_card", "card number"),
                (3, "x", "mask_phone", "phone number"),
                (2, "#", "mask_code", "door code"),
                (4, "#", "mask_account", "account number"),
                (5, "*", "mask_token", "access token"),
                (6, ".", "mask_key", "licence key"),
                (3, "*", "mask_badge", "badge number"),
                (2, "-", "mask_ticket", "ticket number"),
                (4, "x", "mask_serial", "serial number"),
            ]
        ]
        + [
            {
                "side": "first",
                "n": n,
                "mark": mark,
                "name": name,
                "thing": thing,
                "code": f'text[:{n}] + "{mark}" * (len(text) - {n})',
            }
            for n, mark, name, thing in [
                (2, "*", "hide_surname", "surname"),
                (3, "#", "hide_plate", "licence plate"),
                (4, ".", "hide_address", "street address"),
                (2, "_", "hide_answer", "quiz answer"),
                (3, "*", "hide_password", "password"),
                (5, "x", "hide_file_name", "file name"),
                (4, "-", "hide_city", "city name"),
                (6, "*", "hide_iban", "bank number"),
                (3, "?", "hide_nickname", "nickname"),
            ]
        ],
        phrasings="""
Write a function `$name` that hides a $thing: only the $side $n characters stay readable, every other one is
replaced by "$mark". Shorter strings come back unchanged.

I want to show a $thing on screen with everything but the $side $n characters masked by "$mark". Can you write
`$name(text)`? Texts of $n characters or fewer stay as they are.

How do I mask a string in Python so that the $side $n characters are visible and the rest is "$mark"? The
length must stay the same. Name: `$name`.

Please implement `$name(text)`. Keep the $side $n characters of the $thing and put "$mark" in place of each of
the others.

For privacy our log must not contain the full $thing. Return the text with all characters except the $side $n
turned into "$mark"; the function is `$name`.

Given a $thing as a string, return it with just the $side $n characters in clear and a "$mark" for each of the
other characters. Call it `$name`.
""",
        answer="""
def $name(text: str) -> str:
    return $code
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: "".join(
                ch if (i < s["n"] if s["side"] == "first" else i >= len(text) - s["n"]) else s["mark"]
                for i, ch in enumerate(text)
            ),
            ("1234567890",),
            ("Rosa-Linde 7",),
            ("ab",),
            ("",),
        ),
    ),
    Family(
        topic="strings",
        name="shorten-with-ending",
        settings=[
            {"limit": limit, "ending": ending, "name": name, "cut": limit - len(ending), "thing": thing}
            for limit, ending, name, thing in [
                (20, "...", "shorten_title", "titles"),
                (30, "...", "shorten_subject", "mail subjects"),
                (12, "~", "shorten_name", "names"),
                (15, ">>", "shorten_label", "labels"),
                (10, "..", "shorten_tag", "tags"),
                (25, " [cut]", "shorten_comment", "comments"),
                (40, "...", "shorten_headline", "headlines"),
                (16, "+", "shorten_path", "paths"),
                (8, "*", "shorten_code", "codes"),
                (18, "--", "shorten_entry", "diary entries"),
                (24, " (...)", "shorten_note", "notes"),
                (14, "..", "shorten_city", "city names"),
                (22, "/etc", "shorten_list", "lists of names"),
                (9, "-", "shorten_word", "long words"),
                (28, " more", "shorten_teaser", "teasers"),
                (11, "_", "shorten_key", "keys"),
                (35, "...", "shorten_quote", "quotes"),
                (13, "!", "shorten_alert", "alerts"),
            ]
        ],
        phrasings="""
Write a function `$name` that limits a text to $limit characters. If it is longer, cut it and append "$ending"
so that the result, ending included, has exactly $limit characters.

Our $thing are too long for the screen. How do I cut a string to at most $limit characters, with "$ending" at
the end when something was cut? The "$ending" counts too. Name it `$name`.

I need `$name(text)`. Up to $limit characters: return the text untouched. Longer: its first $cut characters
followed by "$ending".

Please implement `$name` for $thing: text of $limit characters or less stays the same, anything longer becomes
the first $cut characters plus "$ending".

Given a string, return it unchanged when it fits into $limit characters, otherwise return a version of exactly
$limit characters that ends in "$ending". The function is called `$name`.

Can you give me a small `$name` function? It truncates strings longer than $limit to $cut characters and adds
"$ending"; shorter ones are returned as is.
""",
        answer="""
def $name(text: str) -> str:
    if len(text) <= $limit:
        return text
    return text[: $limit - len("$ending")] + "$ending"
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: text if not text[s["limit"] :] else text[: s["limit"] - len(s["ending"])] + s["ending"],
            ("A walk along the river in late October, with rain",),
            ("x" * s["limit"],),
            ("y" * (s["limit"] + 1),),
            ("",),
        ),
    ),
    Family(
        topic="strings",
        name="starts-and-ends",
        settings=table(
            "name start link end",
            ("is_bracketed", "[", "and", "]"),
            ("is_parenthesised", "(", "and", ")"),
            ("is_tag", "<", "and", ">"),
            ("is_dunder", "__", "and", "__"),
            ("is_test_file", "test_", "and", ".py"),
            ("is_backup", "backup-", "and", ".zip"),
            ("is_invoice", "INV", "and", ".pdf"),
            ("is_question", "Who", "or", "?"),
            ("is_comment", "/*", "and", "*/"),
            ("is_hidden_or_draft", ".", "or", "~"),
            ("is_secure_site", "https://", "and", ".org"),
            ("is_web_address", "www.", "or", ".com"),
            ("is_photo", "IMG_", "or", ".jpg"),
            ("is_reply", "Re:", "or", "[reply]"),
            ("is_temporary", "tmp", "or", ".tmp"),
            ("is_bold", "**", "and", "**"),
            ("is_readme", "README", "or", ".md"),
            ("is_holiday_report", "trip", "and", "2024"),
        ),
        phrasings="""
Write a function `$name` that tells whether a text starts with "$start" $link ends with "$end".

How can I check that a string begins with "$start" $link ends with "$end"? Please return a bool from a
function named `$name`.

I need `$name(text)`, which is True exactly when the text has "$start" at the beginning $link "$end" at the
end.

Implement `$name` with `startswith` and `endswith`: the prefix is "$start", the suffix is "$end", and they are
combined with `$link`.

Given a string, return True if its prefix is "$start" $link its suffix is "$end", otherwise False. Name of the
function: `$name`.

need a tiny predicate `$name(text)` -> does the text start with "$start" $link end with "$end"?
""",
        answer="""
def $name(text: str) -> bool:
    return text.startswith("$start") $link text.endswith("$end")
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: GATHERERS[s["link"]](
                [text[: len(s["start"])] == s["start"], text[-len(s["end"]) :] == s["end"]]
            ),
            (s["start"] + "abc" + s["end"],),
            (s["start"] + "abc",),
            ("abc" + s["end"],),
            ("",),
        ),
    ),
    Family(
        topic="strings",
        name="shift-letters",
        settings=[
            {"op": op, "by": by, "name": f"{verb}_{by}", "way": way}
            for op, verb, way in [("+", "shift_by", "forward"), ("-", "shift_back", "back")]
            for by in (2, 3, 4, 5, 6, 7, 9, 10, 11, 12)
        ],
        phrasings="""
Write a function `$name` that moves every letter from a to z $way by $by places in the alphabet, wrapping
around at the end. Other characters stay the same.

How do I write a simple letter cipher in Python? Lower-case letters move $by places $way (with wrap-around),
everything else is kept. Function name: `$name`.

I need `$name(text)` for a puzzle: shift the letters a-z $way by $by, and leave capitals, spaces and
punctuation alone.

Please implement `$name`. It takes a string and returns it with each of the letters a-z replaced by the one
$by positions $way; the alphabet is treated as a circle.

Given a text, encode its lower-case letters by rotating the alphabet $by steps $way. Do not touch any other
character. Call the function `$name`.

Can you code a Caesar-style cipher called `$name`? Shift: $by $way, only for a to z.
""",
        answer="""
def $name(text: str) -> str:
    return "".join(
        chr((ord(ch) - 97 $op $by) % 26 + 97) if "a" <= ch <= "z" else ch for ch in text
    )
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: _shift(text, s["by"] if s["op"] == "+" else 26 - s["by"]),
            ("abc xyz",),
            ("Hello, world!",),
            ("",),
            ("jazz 42",),
        ),
    ),
    Family(
        topic="strings",
        name="finish-initials",
        settings=[
            s
            | {"glue": f'"{s["joint"]}"' if s["joint"] else 'nothing (`""`)'}
            | {"word": "capital" if s["case"] == "upper" else "lower-case"}
            for s in table(
                "name sep joint case",
                ("initials", " ", ".", "upper"),
                ("short_name", " ", "", "upper"),
                ("monogram", " ", "-", "upper"),
                ("acronym", "-", "", "upper"),
                ("abbreviate", "_", "", "lower"),
                ("first_letters", "/", "/", "lower"),
                ("badge_text", ", ", "+", "upper"),
                ("user_code", " ", "_", "lower"),
                ("team_code", "-", ".", "lower"),
                ("stamp", "_", ".", "upper"),
                ("signature", "_", "-", "upper"),
                ("crest", " & ", " & ", "upper"),
                ("logo_text", "+", "", "upper"),
                ("short_code", ":", "", "lower"),
                ("path_hint", "/", "", "upper"),
                ("module_hint", ".", ".", "lower"),
                ("column_code", ";", "", "upper"),
                ("nickname", "-", "", "lower"),
            )
        ],
        phrasings="""
Complete the function `$name`. The text consists of words separated by "$sep"; return the first letter of each
word in $case case, joined with $glue.

Here is only a signature. Please fill in the body of `$name` so that it splits on "$sep", takes each word's
first letter as a $word letter and joins the letters with $glue.

How do I finish this? `$name` should build initials: words are split at "$sep", the letters are made $case
case and glued together with $glue. There are no empty words.

I got stuck after the first line of `$name`. It has to return the $word first letters of the words (which are
separated by "$sep"), with $glue in between.

Fill in the body: `$name` gives the first letter of every "$sep"-separated word, in $case case, joined by
$glue.

Write the missing body for `$name`, please. Split the text by "$sep", take the first character of each part,
apply `.$case()`, and join the result with $glue.
""",
        input="""
def $name(text: str) -> str:
    ...
""",
        answer="""
def $name(text: str) -> str:
    return "$joint".join(word[0].$case() for word in text.split("$sep"))
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: s["joint"].join(METHODS[s["case"]](word)[:1] for word in text.split(s["sep"])),
            (s["sep"].join(["Ada", "king", "Lovelace"]),),
            (s["sep"].join(["red", "Green"]),),
            ("solo Act-one_two/x",),
        ),
    ),
)
