"""Tasks that lay out text for people to read."""

from authoring.python_qa.family import Case, Family, Setting, calls, table

ALIGN = {"<": "left", ">": "right", "^": "centre"}


def _align_tests(setting: Setting) -> list[Case]:
    def oracle(rows: list[tuple[str, int]]) -> str:
        first = str.rjust if setting["align"] == ">" else str.ljust
        return "\n".join(
            first(text, setting["wide"], setting["fill"]) + str(number).rjust(setting["narrow"])
            for text, number in rows
        )

    return calls(
        setting["name"],
        oracle,
        ([("tea", 3), ("coffee", 12)],),
        (
            [
                ("a very long label", 1),
            ],
        ),
        ([],),
    )


def _wrap(text: str, width: int, first: str, other: str) -> str:
    lines, line = [], first
    empty = True
    for word in text.split():
        if not empty and len(line) + 1 + len(word) > width:
            lines.append(line)
            line, empty = other, True
        line, empty = (line if empty else line + " ") + word, False
    return "\n".join([*lines, line])


FAMILIES = (
    Family(
        topic="text-formatting",
        name="label-with-unit",
        settings=[
            s | {"decimals": "1 decimal" if s["digits"] == 1 else f"{s['digits']} decimals"}
            for s in table(
                "name label unit digits",
                ("show_price", "Price", "EUR", 2),
                ("show_weight", "Weight", "kg", 1),
                ("show_distance", "Distance", "km", 2),
                ("show_speed", "Speed", "km/h", 0),
                ("show_height", "Height", "m", 2),
                ("show_volume", "Volume", "l", 3),
                ("show_power", "Power", "W", 0),
                ("show_voltage", "Voltage", "V", 2),
                ("show_load", "Load", "t", 3),
                ("show_score", "Score", "points", 1),
                ("show_duration", "Duration", "s", 3),
                ("show_area", "Area", "sqm", 1),
                ("show_rain", "Rain", "mm", 1),
                ("show_pressure", "Pressure", "hPa", 0),
                ("show_fee", "Fee", "USD", 2),
                ("show_depth", "Depth", "ft", 1),
                ("show_signal", "Signal", "dB", 2),
                ("show_size", "Size", "MB", 1),
            )
        ],
        phrasings="""
Write a function `$name` that takes a number and returns a text such as "$label: 12 $unit", with the number
shown to $decimals.

How do I format a float with $decimals between the label "$label: " and the unit " $unit"? Call it `$name`.

I need `$name(value)` for a report line: the word $label, a colon, a space, the value with $decimals, a space
and then $unit.

Please implement `$name` with an f-string. It shows a value as "$label: <value> $unit" where <value> has
$decimals.

Given a measured value, return it as a labelled string: "$label: " first, then the value rounded to $decimals,
then " $unit". The function is named `$name`.

Can you give me an f-string function `$name(value)` that shows $decimals? The label is "$label" and the unit
is "$unit", like this: "$label: ... $unit".
""",
        answer="""
def $name(value: float) -> str:
    return f"$label: {value:.${digits}f} $unit"
""",
        tests=lambda s: calls(
            s["name"],
            lambda value: " ".join([s["label"] + ":", format(value, f".{s['digits']}f"), s["unit"]]),
            (12.3456,),
            (0,),
            (-7.0625,),
            (1999.9999,),
        ),
    ),
    Family(
        topic="text-formatting",
        name="two-column-lines",
        settings=[
            s
            | {"side": ALIGN[s["align"]], "filling": "spaces" if s["fill"] == " " else f'"{s["fill"]}"'}
            | {"spec": ("" if s["fill"] == " " else s["fill"]) + s["align"]}
            for s in table(
                "name wide narrow align fill thing",
                ("price_list", 12, 6, "<", ".", "product"),
                ("bill_lines", 10, 5, "<", " ", "dish"),
                ("score_board", 14, 4, "<", ".", "player"),
                ("stock_list", 16, 5, "<", "-", "article"),
                ("votes_table", 9, 3, ">", " ", "candidate"),
                ("city_table", 15, 8, "<", " ", "city"),
                ("index_lines", 20, 4, "<", ".", "chapter"),
                ("team_table", 8, 3, ">", "-", "team"),
                ("word_table", 11, 4, ">", ".", "word"),
                ("error_table", 18, 6, "<", "_", "error"),
                ("tag_table", 7, 3, "<", "~", "tag"),
                ("month_table", 10, 7, ">", "_", "month"),
                ("plant_list", 13, 5, "<", "*", "plant"),
                ("tool_list", 10, 4, ">", "*", "tool"),
                ("file_sizes", 24, 9, "<", ".", "file"),
                ("shop_list", 12, 3, "<", " ", "item"),
                ("rank_lines", 6, 6, ">", " ", "name"),
                ("goal_table", 17, 2, "<", "=", "goal"),
            )
        ],
        phrasings="""
Write a function `$name` that gets a list of ($thing, number) pairs and returns one line per pair: the $thing
$side-aligned in $wide characters, filled with $filling, and then the number right-aligned in $narrow
characters.

How do I print pairs in two neat columns? In `$name`, column one is $side-aligned, $wide wide and padded with
$filling; column two is right-aligned and $narrow wide. Return the lines joined by newlines.

I need `$name(rows)`. Every row is a pair of a $thing and an int. Format it as $wide characters
($side-aligned, filling: $filling) followed directly by $narrow characters (right-aligned), and join the lines
with a newline.

Please implement `$name`: it turns ($thing, number) tuples into aligned text. Use width $wide, $side-aligned,
padding $filling for the first part and width $narrow, right-aligned, for the number.

Given a list of tuples with a $thing and a number, return a text table. First column: width $wide, aligned
$side, fill $filling. Second column: width $narrow, aligned right. Name: `$name`.

can someone show me the format spec for this: a $thing $side-aligned to $wide chars with $filling as fill, and
a number right-aligned to $narrow chars, one line for each pair? call it `$name`
""",
        answer="""
def $name(rows: list[tuple[str, int]]) -> str:
    return "\\n".join(f"{left:$spec$wide}{right:>$narrow}" for left, right in rows)
""",
        tests=_align_tests,
    ),
    Family(
        topic="text-formatting",
        name="underlined-title",
        settings=table(
            "name mark extra",
            ("underline", "-", 1),
            ("double_underline", "=", 2),
            ("wavy_title", "~", 1),
            ("star_title", "*", 2),
            ("hash_title", "#", 1),
            ("dotted_title", ".", 3),
            ("plus_title", "+", 4),
            ("caret_heading", "^", 2),
            ("long_underline", "_", 5),
            ("chapter_title", "=", 4),
            ("menu_heading", "-", 6),
            ("section_title", "-", 2),
            ("poster_title", "*", 8),
            ("quoted_title", "'", 1),
            ("report_heading", "=", 10),
            ("colon_title", ":", 2),
            ("sea_title", "~", 3),
            ("circle_title", "o", 2),
        ),
        phrasings="""
Write a function `$name` that returns a title, a newline, and below it a line of "$mark" characters that is
$extra longer than the title.

I want to underline headings in plain text. `$name(title)` should give two lines: the title itself, then
"$mark" repeated len(title) + $extra times.

How can I put a row of "$mark" under a title? The row has as many marks as the title has characters, plus
$extra. Return both lines in one string from `$name`.

Please implement `$name` for a text report. The first line is the title; the second is made of "$mark" only
and has the title's length plus $extra.

Given a title, return it with an underline of "$mark" on the next line. Length of the underline: length of the
title plus $extra. Call the function `$name`.

need a two-line heading helper `$name(title)`: title first, then the "$mark" line, which is $extra characters
longer than the title
""",
        answer="""
def $name(title: str) -> str:
    line = "$mark" * (len(title) + $extra)
    return f"{title}\\n{line}"
""",
        tests=lambda s: calls(
            s["name"],
            lambda title: title + "\n" + "".join(s["mark"] for _ in [*title, *range(s["extra"])]),
            ("Results",),
            ("A",),
            ("Two words",),
        ),
    ),
    Family(
        topic="text-formatting",
        name="progress-bar",
        settings=table(
            "name width full empty",
            ("bar", 10, "#", "."),
            ("progress", 20, "#", "-"),
            ("battery", 5, "|", " "),
            ("loading_bar", 30, "=", " "),
            ("stars", 5, "*", "."),
            ("dots", 8, "o", "."),
            ("meter", 12, "+", "-"),
            ("tank", 16, "~", " "),
            ("copy_bar", 25, "=", "."),
            ("level", 6, "^", "_"),
            ("download_bar", 40, "#", "."),
            ("task_bar", 10, "x", "-"),
            ("score_bar", 15, "*", " "),
            ("quiz_bar", 4, "@", "."),
            ("vote_bar", 50, "|", "."),
            ("step_bar", 9, ">", "-"),
            ("fill_bar", 7, "/", " "),
            ("heat_bar", 18, "%", ":"),
        ),
        phrasings="""
Write a function `$name(done, total)` that draws a progress bar of $width characters in square brackets:
"$full" for the finished part (rounded down), "$empty" for the rest.

How do I make a text progress bar in Python? Width $width, finished cells "$full", open cells "$empty", with [
and ] around it. `$name` takes `done` and `total`; the number of finished cells is rounded down.

I need `$name(done, total)`. It returns "[", then done * $width // total times "$full", then "$empty" up to
$width cells, then "]".

Please implement `$name` for a console tool. Out of $width cells, the share done / total (rounded down to
whole cells) shows "$full" and the others show "$empty". Put square brackets around the cells.

Given two ints `done` and `total`, return a bar such as "[$full$full$empty]", but with exactly $width cells
between the brackets. Round the filled part down. Name the function `$name`.

can you code a little bar function `$name(done, total)`? $width cells, filled = "$full", empty = "$empty", in
square brackets, always round down
""",
        answer="""
def $name(done: int, total: int) -> str:
    filled = done * $width // total
    return "[" + "$full" * filled + "$empty" * ($width - filled) + "]"
""",
        tests=lambda s: calls(
            s["name"],
            lambda done, total: f"[{s['full'] * int(s['width'] * done / total):{s['empty']}<{s['width']}}]",
            (1, 2),
            (0, 7),
            (7, 7),
            (2, 3),
        ),
    ),
    Family(
        topic="text-formatting",
        name="numbered-lines",
        settings=[
            s | {"example": f"{s['before']}{s['start']}{s['after']}tea"}
            for s in table(
                "name before start after",
                ("number_lines", "", 1, ". "),
                ("todo_list", "", 1, ") "),
                ("zero_list", "", 0, ": "),
                ("step_list", "Step ", 1, ": "),
                ("question_list", "Q", 1, ". "),
                ("room_list", "Room ", 101, " - "),
                ("day_list", "Day ", 1, " - "),
                ("hash_list", "#", 1, " "),
                ("bracket_list", "[", 0, "] "),
                ("option_list", "(", 1, ") "),
                ("ticket_list", "T-", 1000, " "),
                ("page_list", "p. ", 7, ": "),
                ("goal_list", "Goal ", 1, " = "),
                ("track_list", "Track ", 1, ". "),
                ("seat_list", "Seat ", 20, ": "),
                ("rule_list", "Rule ", 0, ": "),
                ("level_list", "L", 3, " > "),
                ("case_list", "Case ", 10, ") "),
            )
        ],
        phrasings="""
Write a function `$name` that turns a list of strings into numbered lines. Numbering starts at $start, and the
first line for "tea" would read "$example". Join the lines with newlines.

How do I number the items of a list? The first line should look like "$example" and the number grows by one
per line. Return one string; the function is `$name`.

I need `$name(items)`, giving one line per item in the style "$example" (that is number $start), then the next
number, and so on.

Please implement `$name` with `enumerate`. Each item gets its own line with a number in front, counting from
$start: "tea" as first item becomes "$example".

Given a list of texts, return them as one numbered text, lines separated by newline characters. An item "tea"
in first place becomes "$example"; the count starts at $start. Call it `$name`.

Could you write a helper `$name` for lists in e-mails? With ["tea", ...] as argument, line one must be
"$example", and after $start the counting goes up by 1.
""",
        answer="""
def $name(items: list[str]) -> str:
    return "\\n".join(
        f"$before{number}$after{item}" for number, item in enumerate(items, start=$start)
    )
""",
        tests=lambda s: calls(
            s["name"],
            lambda items: "\n".join(
                s["before"] + str(s["start"] + items.index(item)) + s["after"] + item for item in items
            ),
            (["tea", "milk", "bread"],),
            (["one"],),
            ([],),
        ),
    ),
    Family(
        topic="text-formatting",
        name="wrap-with-indent",
        settings=table(
            "name width first other",
            ("quote_mail", 40, "> ", "> "),
            ("bullet", 30, "- ", "  "),
            ("star_item", 28, "* ", "  "),
            ("hint_box", 36, "Hint: ", "      "),
            ("note", 32, "Note: ", "  "),
            ("indent_rest", 24, "= ", "    "),
            ("first_line_indent", 34, "    ", " "),
            ("code_comment", 50, "# ", "# "),
            ("slash_comment", 44, "// ", "// "),
            ("warn", 38, "! ", "! "),
            ("dialog_line", 26, "-- ", "   "),
            ("log_text", 60, "log: ", "... "),
            ("narrow_column", 20, ". ", "  "),
            ("arrow_item", 22, "-> ", "   "),
            ("plus_item", 42, "+ ", "  "),
            ("bar_quote", 25, "| ", "| "),
            ("tip", 45, "Tip: ", "     "),
            ("numbered", 33, "1. ", "   "),
        ),
        phrasings="""
Write a function `$name` that wraps a text to lines of at most $width characters. The first line begins with
"$first", the following lines with "$other"; both count towards the width.

How do I use `textwrap` to break a paragraph at $width columns, with "$first" before line one and "$other"
before all other lines? Put it into `$name`.

I need `$name(text)`: `textwrap.fill` with width $width, an initial indent of "$first" and a subsequent indent
of "$other".

Please implement `$name`. It breaks long text between words so that no line exceeds $width characters. Line
one is prefixed by "$first" and the rest by "$other".

Given a long line of words, return it wrapped at $width characters, prefix of the first line "$first", prefix
of every further line "$other". The function's name is `$name`.

Can the standard library wrap text for me? Max $width characters per line, first line starting with "$first",
later ones with "$other". I'd call it as `$name(text)`.
""",
        answer="""
import textwrap


def $name(text: str) -> str:
    return textwrap.fill(text, width=$width, initial_indent="$first", subsequent_indent="$other")
""",
        tests=lambda s: calls(
            s["name"],
            lambda text: _wrap(text, s["width"], s["first"], s["other"]),
            ("the quick red fox ran over the old stone bridge and was never seen in this town again",),
            ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen",),
            ("short",),
        ),
    ),
    Family(
        topic="text-formatting",
        name="group-thousands",
        settings=table(
            "name mark word suffix",
            ("with_spaces", " ", "a space", " items"),
            ("with_dots", ".", "a dot", " units"),
            ("with_quotes", "'", "an apostrophe", " seats"),
            ("with_underscores", "_", "an underscore", " trees"),
            ("euros", ".", "a dot", " EUR"),
            ("francs", "'", "an apostrophe", " CHF"),
            ("krona", " ", "a space", " kr"),
            ("inhabitants", " ", "a space", " people"),
            ("steps_text", ".", "a dot", " steps"),
            ("byte_count", "_", "an underscore", " bytes"),
            ("views", "'", "an apostrophe", " views"),
            ("miles_text", " ", "a space", " miles"),
            ("pesos", ".", "a dot", " MXN"),
            ("copies", "_", "an underscore", " copies"),
            ("metres_text", "'", "an apostrophe", " m"),
            ("yen", " ", "a space", " JPY"),
            ("visitors", ".", "a dot", " visitors"),
            ("points_text", "-", "a dash", " points"),
        ),
        phrasings="""
Write a function `$name` that formats an integer with $word between groups of three digits and puts "$suffix"
behind it.

How do I show 1234567 as "1${mark}234${mark}567$suffix" in Python? I'd like `$name(number)` to do that for any
int.

I need a function `$name`: groups of thousands are separated by $word, and the text ends with "$suffix". For
example 45000 becomes "45${mark}000$suffix".

Please implement `$name(number)`. It returns the number as a string such as "12${mark}500$suffix" for 12500,
that is with $word as thousands separator.

Given a whole number (may be negative), return it with $word after every three digits counted from the right,
plus the ending "$suffix". Name it `$name`.

Python's `,` format option is almost what I want, but our separator is $word, and "$suffix" has to follow.
Show me `$name`, please.
""",
        answer="""
def $name(number: int) -> str:
    return f"{number:,}".replace(",", "$mark") + "$suffix"
""",
        tests=lambda s: calls(
            s["name"],
            lambda number: (
                s["mark"].join([p for p in (str(number)[:-6], str(number)[-6:-3], str(number)[-3:]) if p]) + s["suffix"]
            ),
            (1234567,),
            (45000,),
            (999,),
            (-12500,),
        ),
    ),
)
