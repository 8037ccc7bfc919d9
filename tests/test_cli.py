"""The command line: a mistake is answered in one paragraph with what to write instead, and costs no time."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tailora.recipe import built_in_recipes, load_recipe
from tests.rows import write

Command = Callable[..., "subprocess.CompletedProcess[str]"]

SMALL = """\
name = "small"
[data]
source = "rows.jsonl"
"""
# A command line that cannot be obeyed, and what its answer must hold.
MISTAKES = {
    "unknown key": (["run", "small.toml", "lora.rnak=4"], ["unknown key lora.rnak", 'did you mean "rank"?']),
    "key of another section": (["run", "small.toml", "lr=1e-3"], ["unknown key lr", 'did you mean "train.lr"?']),
    "wrong value": (["run", "small.toml", "lora.rank=many"], ["lora.rank", "'many'"]),
    "malformed override": (["run", "small.toml", "lora.rank"], ['"lora.rank"', "key=value", "train.lr=3e-4"]),
    "unknown recipe": (["run", "dmeo"], ['no recipe "dmeo"', 'did you mean "demo"?', "tailora new"]),
    "broken recipe": (["run", "broken.toml"], ["broken.toml", "not a TOML file", "line 1"]),
    "missing data": (["run", "small.toml", "data.source=row.jsonl"], ["row.jsonl", 'did you mean "rows.jsonl"?']),
    "no base at a path": (["run", "small.toml", "model.base=./nowhere"], ["./nowhere", "no such file or folder"]),
    "base without a config": (["run", "small.toml", "model.base=."], ["model.base", "config.json"]),
    "misspelt base": (["run", "small.toml", "model.base=tailora-tny"], ['did you mean "tailora-tiny"?']),
    "base on no hub": (["run", "small.toml", "model.base=nobody/nothing"], ['"nobody/nothing"', "hub", "local folder"]),
    "missing column": (["prepare", "small.toml", "data.prompt=qestion"], ["qestion", 'did you mean "question"?']),
    "too few rows": (["prepare", "small.toml", "data.source=few.jsonl"], ["3 rows", "at least 10"]),
    "cut-off data": (["prepare", "small.toml", "data.source=cut.jsonl"], ["cut.jsonl:2:", "not JSON"]),
    "folder without data": (["prepare", "small.toml", "data.source=empty"], ["a folder without data", ".jsonl"]),
    "name that is a path": (["prepare", "small.toml", "name=../up"], ["name", "letters, digits"]),
    "no such row": (["show", "row", "small.toml", "999"], ["no training row 999", "the last one is"]),
    "existing file": (["new", "small.toml"], ["small.toml exists"]),
    "nothing to evaluate": (["evaluate"], ["a recipe, the folder of a run, or --adapter and --data"]),
    "adapter without rows": (["evaluate", "--adapter", "empty"], ["--data", "belong together"]),
    "folder that is no adapter": (
        ["evaluate", "--adapter", "empty", "--data", "rows.jsonl", "--base", "tailora-tiny"],
        ["empty is no adapter", "adapter_config.json"],
    ),
    "run without an adapter": (["evaluate", "small.toml", "--on", "rows.jsonl"], ["prepare has not been done"]),
    "prompts that are not there": (
        ["evaluate", "small.toml", "evaluate.prompts=promts.txt"],
        ["evaluate.prompts", "promts.txt"],
    ),
    "new without a name": (["new", "my recipe.toml"], ["my recipe", "letters, digits"]),
}


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path) -> Path:
    """Put a small recipe and its rows where the command runs."""
    rows = [{"question": f"What is {i} plus {i}?", "answer": f"{i + i}", "note": i} for i in range(40)]
    for name, count in (("rows.jsonl", 40), ("few.jsonl", 3)):
        write(tmp_path / name, rows[:count])
    (tmp_path / "cut.jsonl").write_text(json.dumps(rows[0]) + '\n{"question": "W')
    (tmp_path / "empty").mkdir()
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "broken.toml").write_text("name = \n")
    return tmp_path


def loaded_modules(errors: str) -> set[str]:
    """Return the modules in the report of `python -X importtime`."""
    return {line.rpartition("|")[2].strip() for line in errors.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_in_one_paragraph_that_says_what_to_write(tailora: Command, mistake: str) -> None:
    words, expected = MISTAKES[mistake]
    done = tailora(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: .+\n", done.stderr), done.stderr
    for text in expected:
        assert text in done.stderr


def test_several_mistakes_are_answered_at_once(tailora: Command) -> None:
    done = tailora("run", "small.toml", "lora.rank=0", "train.lr=-1", "data.vla=0.1")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert all(any(key in line for line in lines) for key in ("lora.rank", "train.lr", "data.vla"))


@pytest.mark.parametrize("verb", ["run", "evaluate"])
@pytest.mark.parametrize("words", [[], ["--unsafe-exec"]])
def test_unsafe_exec_is_asked_for_by_its_flag_alone(
    tailora: Command, workplace: Path, verb: str, words: list[str]
) -> None:
    assert "3 rows" in tailora(verb, "small.toml", "data.source=few.jsonl", *words).stderr
    assert load_recipe(str(workplace / "runs" / "small" / "recipe.toml")).evaluate.unsafe_exec is bool(words)


def test_a_refused_command_leaves_no_run(tailora: Command, workplace: Path) -> None:
    for words in (["lora.rank=0"], ["data.source=row.jsonl"], ["model.base=./nowhere"]):
        tailora("run", "small.toml", *words)
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "small.toml", "lora.rnak=4"],
        ["run", "dmeo"],
        ["run", "small.toml", "data.source=row.jsonl"],
        ["run", "small.toml", "model.base=./nowhere"],
        ["run", "small.toml", "train.processes=2"],
        ["evaluate", "--adapter", "nowhere", "--on", "rows.jsonl"],
        ["prepare", "small.toml"],
        ["models"],
        ["show", "recipe", "demo"],
        ["new", "mine.toml"],
    ],
)
def test_what_needs_no_model_loads_neither_torch_nor_transformers_nor_peft(tailora: Command, words: list[str]) -> None:
    modules = loaded_modules(tailora(*words, python=("-X", "importtime")).stderr)
    assert "tailora.cli" in modules
    assert not modules & {"torch", "transformers", "peft"}


def test_help_loads_no_more_than_it_shows(tailora: Command) -> None:
    done = tailora("--help", python=("-X", "importtime"))
    assert done.returncode == 0
    for verb in ("run", "prepare", "train", "evaluate", "report", "new", "show"):
        assert re.search(rf"\b{verb}\b", done.stdout)
    # 0.3 s is the promise; what could break it is a large import, and that does not depend on this machine's load.
    assert not loaded_modules(done.stderr) & {"pydantic", "numpy", "scipy", "matplotlib", "huggingface_hub", "jinja2"}


def test_new_writes_a_recipe_that_loads_and_names_every_key(tailora: Command, workplace: Path) -> None:
    (workplace / "rows.jsonl").rename(workplace / 'rows "new".jsonl')
    done = tailora("new", "mine.toml", "--source", 'rows "new".jsonl')
    assert done.returncode == 0 and 'mine.toml for task = "generate"' in done.stdout
    assert "data.prompt: question, such as: What is 0 plus 0?" in done.stdout
    recipe = load_recipe(str(workplace / "mine.toml"))
    assert recipe.name == "mine" and recipe.data.source == 'rows "new".jsonl'
    assert (recipe.data.prompt, recipe.data.answer) == ("question", "answer")
    text = (workplace / "mine.toml").read_text()
    assert all(re.search(rf"^(# )?{key.rpartition('.')[2]} =", text, re.MULTILINE) for key in recipe.keys())  # noqa: SIM118


def test_new_writes_nothing_about_data_that_it_cannot_read(tailora: Command, workplace: Path) -> None:
    done = tailora("new", "mine.toml", "--source", "cut.jsonl")
    assert done.returncode == 2 and re.fullmatch(r"error: cut\.jsonl:2:.+\n", done.stderr)
    assert not (workplace / "mine.toml").exists()


def test_new_never_overwrites(tailora: Command, workplace: Path) -> None:
    tailora("new", "small.toml")
    assert (workplace / "small.toml").read_text() == SMALL


def test_show_recipe_prints_toml_that_makes_the_same_recipe(tailora: Command, workplace: Path) -> None:
    for name in (*built_in_recipes(), "small.toml"):
        done = tailora("show", "recipe", name, "train.lr=3e-4", f"data.source={'long/' * 40}rows.jsonl")
        assert done.returncode == 0 and done.stderr == ""
        values = tomllib.loads(done.stdout)
        assert values["train"]["lr"] == 3e-4 and values["data"]["source"] == "long/" * 40 + "rows.jsonl"
        assert "[bold" not in done.stdout


def test_show_data_prints_the_card_and_prepares_first(tailora: Command, workplace: Path) -> None:
    with (workplace / "rows.jsonl").open("a") as file:
        file.write('{"question": "", "answer": "x"}\n')
    done = tailora("show", "data", "small.toml")
    assert done.returncode == 0, done.stderr
    card = json.loads((workplace / "runs" / "small" / "prepare" / "card.json").read_text())
    assert card["rows"] == {"read": 41, "kept": 40, "dropped": 1}
    printed = {line[:22].strip(): line[22:].strip() for line in done.stdout.splitlines()}
    assert printed["rows read"] == "41" and printed["rows kept"] == "40" and printed["rows dropped"] == "1"
    assert "rows.jsonl:41" in printed["empty question"]
    assert printed["columns"] == "prompt = question, answer = answer"


def test_show_row_prints_what_the_model_reads_and_learns_unbroken(tailora: Command, workplace: Path) -> None:
    long = [" ".join(f"word{i}x{k}" for k in range(60)) for i in range(40)]  # near questions would be one group
    rows = [{"question": f"{words} {i}?", "answer": f"[bold]{i}[/] {words}"} for i, words in enumerate(long)]
    write(workplace / "rows.jsonl", rows)
    done = tailora("show", "row", "small.toml", "3")
    assert done.returncode == 0, done.stderr
    prepared = (workplace / "runs" / "small" / "prepare" / "train.jsonl").read_text().splitlines()
    row = json.loads(prepared[3])
    question, answer = row["prompt"][0]["content"], row["answer"]
    assert f"### Question\n{question}\n\n### Answer\n{answer}<|end|>" in done.stdout
    assert re.search(r"\d+ tokens, \d+ of them learned", done.stdout)


def test_what_could_rewrite_a_terminal_is_not_printed(tailora: Command, workplace: Path) -> None:
    done = tailora("prepare", "small.toml", "data.source=\x1b[2Jgone\u202e.jsonl")
    assert done.returncode == 2 and "gone" in done.stderr
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr


def test_a_finished_stage_is_kept_until_fresh_is_asked_for(tailora: Command, workplace: Path) -> None:
    splits = workplace / "runs" / "small" / "prepare" / "train.jsonl"
    assert tailora("prepare", "small.toml").returncode == 0
    first = splits.stat().st_mtime_ns
    assert tailora("prepare", "small.toml").returncode == 0
    assert splits.stat().st_mtime_ns == first
    (workplace / "runs" / "small" / "train.partial").mkdir()  # a training was begun on these rows
    refused = tailora("prepare", "small.toml", "data.seed=1")
    assert refused.returncode == 2 and "data.seed has changed since (0, now 1)" in refused.stderr
    assert splits.stat().st_mtime_ns == first
    for words in ([], ["data.seed=1"]):
        before = splits.stat().st_mtime_ns
        assert tailora("prepare", "small.toml", *words, "--fresh").returncode == 0
        assert splits.stat().st_mtime_ns != before


def test_the_runs_folder_can_be_chosen(tailora: Command, workplace: Path) -> None:
    assert tailora("prepare", "small.toml", "--runs", "elsewhere").returncode == 0
    assert (workplace / "elsewhere" / "small" / "prepare").is_dir() and not (workplace / "runs").exists()


def test_an_interruption_ends_quietly_with_130(workplace: Path, offline: dict[str, str]) -> None:
    row = json.dumps({"question": "q" * 200, "answer": "a" * 200})
    (workplace / "rows.jsonl").write_text((row + "\n") * 200_000)
    command = [sys.executable, "-m", "tailora", "prepare", "small.toml"]
    # Tests that run in the background of a shell inherit that this signal is ignored.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=workplace, env=offline, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        # Rows are being read: before, an import might swallow the signal, as some libraries' do.
        while not list((workplace / "runs" / "small").glob("prepare.partial/rows.*")):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130 and "Traceback" not in errors
    assert not (workplace / "runs" / "small" / "prepare").exists()


def test_strict_refuses_what_else_is_only_shown(tailora: Command, workplace: Path) -> None:
    assert tailora("prepare", "small.toml").returncode == 0
    done = tailora("prepare", "small.toml", "--strict", "--fresh")
    assert done.returncode == 2 and "data.strict: only 40 rows" in done.stderr


@pytest.mark.parametrize("words", [("new", "NAME.toml"), ("run", "NAME"), ("show", "recipe", "NAME")])
def test_a_name_that_is_too_long_for_a_file_is_one_paragraph(words: tuple[str, ...], tailora: Command) -> None:
    done = tailora(*(word.replace("NAME", "x" * 300) for word in words))
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.startswith("error: ")
