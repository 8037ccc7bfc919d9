"""Tasks on matrices, given as lists of rows."""

from authoring.python_qa.family import OPERATORS, Case, Family, Setting, calls, table

GRIDS = [[3, -1, 4], [1, 5, -9], [2, 6, 5]], [[10, 0], [-3, 7]], [[8]]


def _line_tests(setting: Setting) -> list[Case]:
    def oracle(matrix: list[list[int]]) -> list[int]:
        columns = [[row[c] for row in matrix] for c in range(len(matrix[0]))]
        return [setting["fold"](line) for line in columns]

    return calls(setting["name"], oracle, *((g,) for g in GRIDS), ([[1, 1, 9], [1, -2, 9]],))


def _find_tests(setting: Setting) -> list[Case]:
    def oracle(matrix: list[list[int]]) -> list[int] | None:
        places = [[r, c] for r in range(len(matrix)) for c in range(len(matrix[r]))]
        return next((p for p in places if OPERATORS[setting["op"]](matrix[p[0]][p[1]], setting["value"])), None)

    value = setting["value"]
    return calls(
        setting["name"],
        oracle,
        ([[value + 1, value - 1], [value, value + 2]],),
        ([[value, value], [value - 1, value + 1]],),
        ([[value, value]],),
        ([[6, 0, -6, 2], [9, 35, 1, 4], [60, 8, 300, 7]],),
        ([],),
    )


FAMILIES = (
    Family(
        topic="matrices",
        name="per-column",
        settings=table(
            "name code text fold",
            ("column_sums", "sum(column)", "the sum", lambda v: sum(v)),
            ("column_maxima", "max(column)", "the largest value", lambda v: sorted(v)[-1]),
            ("column_minima", "min(column)", "the smallest value", lambda v: sorted(v)[0]),
            (
                "column_spans",
                "max(column) - min(column)",
                "the largest minus the smallest value",
                lambda v: sorted(v)[-1] - sorted(v)[0],
            ),
            ("column_tops", "column[0]", "the first entry", lambda v: v[:1][0]),
            ("column_bottoms", "column[-1]", "the last entry", lambda v: v[len(v) - 1]),
            (
                "column_squares",
                "sum(x * x for x in column)",
                "the sum of the squares",
                lambda v: sum(x**2 for x in v),
            ),
            (
                "column_positives",
                "sum(x > 0 for x in column)",
                "the number of positive entries",
                lambda v: len([x for x in v if x >= 1]),
            ),
            (
                "column_negatives",
                "sum(x < 0 for x in column)",
                "the number of negative entries",
                lambda v: len([x for x in v if x <= -1]),
            ),
            (
                "column_evens",
                "sum(x % 2 == 0 for x in column)",
                "the number of even entries",
                lambda v: len([x for x in v if not x & 1]),
            ),
            (
                "column_sizes",
                "sum(abs(x) for x in column)",
                "the sum of the absolute values",
                lambda v: sum(max(x, -x) for x in v),
            ),
            (
                "column_means",
                "sum(column) // len(column)",
                "the mean, rounded down",
                lambda v: sum(v) // len(v),
            ),
            (
                "column_distinct",
                "len(set(column))",
                "the number of different entries",
                lambda v: len(dict.fromkeys(v)),
            ),
            (
                "column_ends",
                "column[0] + column[-1]",
                "the first plus the last entry",
                lambda v: v[-1] + v[0],
            ),
            (
                "column_changes",
                "column[-1] - column[0]",
                "the last minus the first entry",
                lambda v: -v[0] + v[-1],
            ),
            (
                "column_places",
                "column.index(max(column))",
                "the row index of the (first) largest value",
                lambda v: min(i for i in range(len(v)) if v[i] >= max(v)),
            ),
            (
                "column_big",
                "sum(x for x in column if x > 3)",
                "the sum of the entries above 3",
                lambda v: sum(x for x in v if not x <= 3),
            ),
            (
                "column_texts",
                '"/".join(map(str, column))',
                'the entries as text, joined by "/",',
                lambda v: "/".join(f"{x}" for x in v),
            ),
        ),
        phrasings="""
Write a function `$name` that returns a list with $text of each column of a matrix (a list of rows of equal
length).

How do I get $text for every column of a list of lists? Call the function `$name`; no numpy please.

I need `$name(matrix)`: one result per column, namely `$code`.

Please implement `$name` with `zip(*matrix)`. For each column it computes $text, and the results form a list.

Given a table of ints as a list of rows, return $text of every column, from left to right. The function is
called `$name`.

rows are easy, columns not so much: `$name(matrix)` should give me $text per column as a list
""",
        answer="""
def $name(matrix: list[list[int]]) -> list:
    return [$code for column in zip(*matrix)]
""",
        tests=_line_tests,
    ),
    Family(
        topic="matrices",
        name="change-every-cell",
        settings=table(
            "name code text fold",
            ("double_cells", "cell * 2", "doubled", lambda x: x + x),
            ("negate_cells", "-cell", "with the opposite sign", lambda x: 0 - x),
            ("square_cells", "cell ** 2", "squared", lambda x: x * x),
            ("raise_cells", "cell + 5", "increased by 5", lambda x: x - -5),
            ("lower_cells", "cell - 3", "decreased by 3", lambda x: x + -3),
            ("halve_cells", "cell // 2", "halved and rounded down", lambda x: (x - x % 2) // 2),
            ("wrap_cells", "cell % 4", "reduced modulo 4", lambda x: x - x // 4 * 4),
            ("plain_cells", "abs(cell)", "replaced by its absolute value", lambda x: max(x, -x)),
            ("cut_cells", "min(cell, 5)", "limited to at most 5", lambda x: x if x < 5 else 5),
            ("lift_cells", "max(cell, 0)", "replaced by 0 if it is negative", lambda x: x if x > 0 else 0),
            ("text_cells", "str(cell)", "turned into a string", lambda x: f"{x}"),
            ("flag_cells", "cell > 0", "replaced by True if it is positive, else False", lambda x: x >= 1),
            (
                "even_cells",
                "cell % 2 == 0",
                "replaced by True if it is even, else False",
                lambda x: not x & 1,
            ),
            ("invert_cells", "1 - cell", "subtracted from 1", lambda x: -x + 1),
            ("tenfold_cells", "cell * 10", "multiplied by 10", lambda x: x * 2 * 5),
            (
                "bit_cells",
                "int(cell > 3)",
                "replaced by 1 if it is above 3, else 0",
                lambda x: 1 if x >= 4 else 0,
            ),
            ("cube_cells", "cell ** 3", "raised to the third power", lambda x: x * x * x),
            ("unit_cells", "int(cell != 0)", "replaced by 0 if it is 0, else 1", lambda x: 1 if x else 0),
        ),
        phrasings="""
Write a function `$name` that returns a new matrix in which every cell is $text.

How do I apply `$code` to each cell of a list of lists? The result should be a new list of lists; the name is
`$name`.

I need `$name(matrix)`: same shape, each number $text. The original must stay unchanged.

Please implement `$name` as a nested list comprehension that computes `$code` for every cell.

Given a matrix of ints (list of rows), return a matrix of the same size with each entry $text. Call it
`$name`.

nested lists, all numbers should be $text, how? function `$name(matrix)`, returns a fresh matrix
""",
        answer="""
def $name(matrix: list[list[int]]) -> list[list]:
    return [[$code for cell in row] for row in matrix]
""",
        tests=lambda s: calls(
            s["name"],
            lambda matrix: [list(map(s["fold"], row)) for row in matrix],
            *((g,) for g in GRIDS),
            ([],),
        ),
    ),
    Family(
        topic="matrices",
        name="build-table",
        settings=table(
            "name code text fold",
            ("sum_table", "r + c", "the row number plus the column number", lambda r, c: c + r),
            ("product_table", "r * c", "the row number times the column number", lambda r, c: c * r),
            ("difference_table", "r - c", "the row number minus the column number", lambda r, c: -c + r),
            (
                "distance_table",
                "abs(r - c)",
                "the distance of row number and column number",
                lambda r, c: max(r, c) - min(r, c),
            ),
            (
                "larger_table",
                "max(r, c)",
                "the larger of row number and column number",
                lambda r, c: r if r > c else c,
            ),
            (
                "smaller_table",
                "min(r, c)",
                "the smaller of row number and column number",
                lambda r, c: c if r > c else r,
            ),
            (
                "chess_table",
                "(r + c) % 2",
                "0 or 1 as on a chess board, i.e. (r + c) % 2",
                lambda r, c: (r ^ c) & 1,
            ),
            (
                "identity_table",
                "int(r == c)",
                "1 where row and column number agree, else 0",
                lambda r, c: 1 - bool(r - c),
            ),
            (
                "triangle_table",
                "int(c <= r)",
                "1 where the column number is not above the row number, else 0",
                lambda r, c: 1 if r >= c else 0,
            ),
            (
                "upper_table",
                "int(c > r)",
                "1 where the column number is above the row number, else 0",
                lambda r, c: 1 if r < c else 0,
            ),
            ("running_table", "r * cols + c", "its running number, row by row, from 0 on", None),
            ("running_from_one", "r * cols + c + 1", "its running number, row by row, from 1 on", None),
            ("column_count_table", "c * rows + r", "its running number, column by column, from 0 on", None),
            ("stripe_table", "c % 2", "the column number modulo 2", lambda r, c: c & 1),
            ("bar_table", "r % 3", "the row number modulo 3", lambda r, c: r - r // 3 * 3),
            (
                "power_table",
                "r ** c",
                "the row number to the power of the column number",
                lambda r, c: pow(r, c),
            ),
            (
                "square_table",
                "r * r + c * c",
                "the sum of the squared row and column number",
                lambda r, c: c**2 + r**2,
            ),
            (
                "wide_table",
                "10 * r + c",
                "10 times the row number plus the column number",
                lambda r, c: c + r * 10,
            ),
        ),
        phrasings="""
Write a function `$name` that builds a matrix with the given numbers of rows and columns; each cell is $text.
Row and column numbers start at 0.

How do I create a list of lists of size `rows` x `cols` with the cell in row r and column c being `$code`?
Name it `$name`; r and c start at 0.

I need `$name(rows, cols)`: a matrix where the entry at row r, column c (both from 0) equals `$code`.

Please implement `$name` with a nested comprehension. The entries are $text (`$code`, r and c counted from 0).

Given two ints, `rows` and `cols`, return a matrix as a list of rows, each entry being $text, with rows and
columns numbered from 0. The function is called `$name`.

Can you make me a table with `rows` rows and `cols` columns whose values follow the formula `$code`
(zero-based)? I'd call it as `$name(rows, cols)`.
""",
        answer="""
def $name(rows: int, cols: int) -> list[list[int]]:
    return [[$code for c in range(cols)] for r in range(rows)]
""",
        tests=lambda s: calls(s["name"], lambda rows, cols: _table(s, rows, cols), (3, 4), (2, 2), (0, 5), (4, 1)),
    ),
    Family(
        topic="matrices",
        name="find-cell",
        settings=[
            s | {"name": f"find_{s['word']}"}
            for s in table(
                "word op value text",
                ("zero", "==", 0, "equal to 0"),
                ("seven", "==", 7, "equal to 7"),
                ("wall", "==", 1, "equal to 1"),
                ("exit", "==", 9, "equal to 9"),
                ("mine", "==", -1, "equal to -1"),
                ("filled", "!=", 0, "different from 0"),
                ("not_one", "!=", 1, "different from 1"),
                ("changed", "!=", 255, "different from 255"),
                ("negative", "<", 0, "below 0"),
                ("small", "<", 10, "below 10"),
                ("low", "<=", 3, "at most 3"),
                ("cold", "<=", -5, "at most -5"),
                ("positive", ">", 0, "above 0"),
                ("peak", ">", 99, "above 99"),
                ("hot", ">", 30, "above 30"),
                ("big", ">=", 50, "at least 50"),
                ("deep", ">=", 8, "at least 8"),
                ("adult", ">=", 18, "at least 18"),
            )
        ],
        phrasings="""
Write a function `$name` that returns [row, column] of the first cell of a matrix that is $text, searching row
by row. Return None if there is none.

How do I locate the first cell $text in a list of lists? I'd like the zero-based [row, column], or None. Call
it `$name`.

I need `$name(matrix)`: go through the rows from top to bottom and each row from left to right; at the first
cell with `cell $op $value` return [r, c]. Otherwise return None.

Please implement `$name` using two `enumerate` loops. It gives the position [r, c] of the first entry $text,
or None.

Given a grid of ints, find the first entry (in reading order) that is $text and return its indices as a list
of two ints, or None if no entry fits. The function is named `$name`.

where in the grid is the first number $text? `$name(matrix)` -> [row, col] counted from 0, None if not found
""",
        answer="""
def $name(matrix: list[list[int]]) -> list[int] | None:
    for r, row in enumerate(matrix):
        for c, cell in enumerate(row):
            if cell $op $value:
                return [r, c]
    return None
""",
        tests=_find_tests,
    ),
    Family(
        topic="matrices",
        name="draw-grid",
        settings=[
            s | {"cond": f"cell {s['test']}"}
            for s in table(
                "name test full empty keep",
                ("draw_maze", "== 1", "#", ".", lambda v: v in (1,)),
                ("draw_map", "> 0", "^", "~", lambda v: v >= 1),
                ("draw_seats", "== 0", "o", "x", lambda v: v in (0,)),
                ("draw_pixels", "!= 0", "@", " ", bool),
                ("draw_stars", ">= 5", "*", ".", lambda v: v > 4),
                ("draw_holes", "< 0", "O", "-", lambda v: v <= -1),
                ("draw_board", "% 2 == 1", "X", "_", lambda v: bool(v & 1)),
                ("draw_walls", "== 2", "W", " ", lambda v: v in (2,)),
                ("draw_heat", "> 9", "H", ".", lambda v: v >= 10),
                ("draw_ice", "<= 0", "I", "~", lambda v: v < 1),
                ("draw_field", "% 3 == 0", "+", ".", lambda v: v // 3 * 3 == v),
                ("draw_lamps", "== 1", "1", "0", lambda v: v in (1,)),
                ("draw_rain", "> 2", "/", ".", lambda v: v >= 3),
                ("draw_ships", "!= 1", "=", "~", lambda v: v not in (1,)),
                ("draw_code", "% 2 == 0", "|", ":", lambda v: not v & 1),
                ("draw_trees", ">= 3", "T", ",", lambda v: v > 2),
                ("draw_snow", "< 1", "*", "_", lambda v: v <= 0),
                ("draw_gold", "== 7", "G", ".", lambda v: v in (7,)),
            )
        ],
        phrasings="""
Write a function `$name` that draws a matrix as text: "$full" for cells with `$cond`, "$empty" for the others,
one line per row.

How do I print a grid of numbers as characters? A cell with `$cond` becomes "$full", any other becomes
"$empty". Return the rows joined by newlines from `$name`.

I need `$name(matrix)` to show a grid: `$cond` -> "$full", else "$empty"; rows are separated by a newline.

Please implement `$name` with two nested joins. The characters are "$full" (if `$cond`) and "$empty" (if not).

Given a list of rows of ints, return a string picture in which "$full" marks the cells where `$cond` and
"$empty" the rest. No newline at the end. Name of the function: `$name`.

ascii art from numbers: "$full" where `$cond`, otherwise "$empty", lines joined with a newline... can you do
`$name(matrix)`?
""",
        answer="""
def $name(matrix: list[list[int]]) -> str:
    return "\\n".join(
        "".join("$full" if $cond else "$empty" for cell in row) for row in matrix
    )
""",
        tests=lambda s: calls(
            s["name"],
            lambda matrix: "\n".join(
                "".join([s["empty"], s["full"]][s["keep"](cell)] for cell in row) for row in matrix
            ),
            ([[0, 1, 2], [7, -3, 12]],),
            ([[5, 9, 4, 3, 6], [1, 1, 0, 10, -2]],),
            ([[2]],),
            ([],),
        ),
    ),
)


def _table(setting: Setting, rows: int, cols: int) -> list[list[int]]:
    if setting["fold"]:
        return [[setting["fold"](r, c) for c in range(cols)] for r in range(rows)]
    by_column = setting["name"].startswith("column")
    first = int(setting["name"].endswith("one"))
    counted = range(first, rows * cols + first)
    return [list(counted[r::rows] if by_column else counted[r * cols : (r + 1) * cols]) for r in range(rows)]
