"""Recipes: what is asked for is what is used, and what cannot be is refused at once with what to write instead."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tailora.errors import RecipeError
from tailora.files import checked_name
from tailora.recipe import (
    FOREIGN_KEYS,
    Recipe,
    Section,
    built_in_recipes,
    describe_recipe,
    load_recipe,
    locate_recipe,
    parse_recipe,
    resolved_lines,
    toml_line,
)

SMALLEST = {"name": "small", "data": {"source": "rows.jsonl"}}


def write(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


@pytest.fixture
def small(tmp_path: Path) -> str:
    return write(tmp_path / "small.toml", 'name = "small"\n[data]\nsource = "rows.jsonl"\n[lora]\nrank = 8\n')


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(values)
    return caught.value.problems


def with_value(key: str, value: Any) -> dict[str, Any]:
    """Return the smallest recipe with one more key."""
    section, _, name = key.rpartition(".")
    if not section:
        return SMALLEST | {name: value}
    return SMALLEST | {section: {**dict(SMALLEST.get(section, {})), name: value}}  # type: ignore[call-overload]


def sections() -> dict[str, type[Section]]:
    parts = {name: field.annotation for name, field in Recipe.model_fields.items()}
    return {name: part for name, part in parts.items() if isinstance(part, type) and issubclass(part, Section)}


def known_keys() -> list[str]:
    """Every key by the published JSON schema, so by another path than `Recipe.keys`."""
    schema = Recipe.model_json_schema()
    keys = []
    for name, value in schema["properties"].items():
        part = value.get("$ref", "").rpartition("/")[2]
        keys += [f"{name}.{key}" for key in schema["$defs"][part]["properties"]] if part else [name]
    return keys


@pytest.mark.parametrize("name", built_in_recipes())
def test_a_built_in_recipe_loads_and_its_description_loads_back_equal(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    described = write(tmp_path / "described.toml", describe_recipe(recipe))
    assert load_recipe(described) == recipe


@given(data=st.data())
def test_a_described_recipe_loads_back_equal(
    recipe_values: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    recipe = parse_recipe(data.draw(recipe_values))
    assert parse_recipe(tomllib.loads(describe_recipe(recipe))) == recipe


def test_every_character_survives_toml() -> None:
    text = "".join(map(chr, range(0x800))) + "\u2028\ufeff😀\"\"\"'''\\u0041"
    assert tomllib.loads(toml_line("key", text)) == {"key": text}
    assert tomllib.loads(toml_line("key", [text])) == {"key": [text]}


def test_the_resolved_values_make_the_same_recipe() -> None:
    # pydantic does not check defaults; this does.
    recipe = parse_recipe(SMALLEST)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_keys_are_flat_and_complete() -> None:
    keys = parse_recipe(SMALLEST).keys()
    assert list(keys) == known_keys()
    assert {key for key, value in keys.items() if isinstance(value, dict)} == {"data.weights"}
    assert json.loads(json.dumps(keys, allow_nan=False)) == keys


def test_every_key_and_section_is_documented() -> None:
    for name, field in Recipe.model_fields.items():
        section = sections().get(name)
        documentation = field.description if section is None else section.__doc__
        assert documentation and documentation.endswith(".") and documentation != Section.__doc__, name
    for name, section in sections().items():
        for key, field in section.model_fields.items():
            assert field.description and field.description.endswith("."), f"{name}.{key}"


def test_a_description_shows_every_key_with_its_documentation() -> None:
    lines = describe_recipe(parse_recipe(SMALLEST)).splitlines()
    fields = [(name, field) for name, field in Recipe.model_fields.items() if name not in sections()]
    fields += [item for section in sections().values() for item in section.model_fields.items()]
    for key, field in fields:
        documentation = " ".join(str(field.description).split())
        assert any(re.match(rf"(# )?{key} =", line) and line.endswith(f"# {documentation}") for line in lines), key


def test_a_recipe_cannot_be_changed() -> None:
    recipe = parse_recipe(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.lora.rank = 4


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        {
            "name": "../up",
            "data": {"test": 0.7},
            "model": {"dtype": "float16"},
            "lora": {"rnak": 4, "alpha": -1},
            "train": {"epochs": "three"},
            "trian": {},
        }
    )
    keys = ("name", "data.source", "data.test", "model.dtype", "lora.rnak", "lora.alpha", "train.epochs", "trian")
    assert len(found) == len(keys)
    for key in keys:
        assert any(re.match(rf"recipe: (unknown key )?{re.escape(key)}\b", problem) for problem in found), key


@pytest.mark.parametrize("key", [key for key in known_keys() if key not in ("data.weights", "train.class_weights")])
def test_a_value_of_the_wrong_type_is_one_problem_that_names_its_key(key: str) -> None:
    (found,) = problems(with_value(key, {"nested": 1}))
    assert re.search(rf"\b{re.escape(key)}\b: ", found)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("trian", "train"),
        ("nmae", "name"),
        ("lora.rnak", "rank"),
        ("train.epoch", "epochs"),
        ("data.sorce", "source"),
        ("lr", "train.lr"),
        ("rank", "lora.rank"),
        ("lora.lr", "train.lr"),
    ],
)
def test_an_unknown_key_is_answered_with_the_one_that_was_meant(key: str, meant: str) -> None:
    (found,) = problems(with_value(key, 1))
    assert f"unknown key {key}" in found
    assert f'did you mean "{meant}"?' in found


def test_a_missing_key_is_answered_with_what_it_is_for() -> None:
    name, data = problems({})
    assert "name is missing" in name and str(Recipe.model_fields["name"].description) in name
    assert "data is missing" in data and str(sections()["data"].__doc__) in data


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "translate"),
        ("data.val", 0),
        ("data.val", 0.5),
        ("data.test", 0),
        ("model.max_length", 15),
        ("lora.rank", 0),
        ("lora.rank", 1.5),
        ("lora.alpha", 0),
        ("lora.alpha", float("inf")),
        ("lora.dropout", 1),
        ("lora.targets", "q_proj"),
        ("train.epochs", 0),
        ("train.lr", 0),
        ("train.lr", float("inf")),
        ("train.lr", float("nan")),
        ("train.lr", "fast"),
        ("train.lr", True),
        ("lora.method", "vera"),
        ("lora.init", "random"),
        ("lora.lora_plus_ratio", 0.5),
        ("lora.last_layers", 0),
        ("model.quantize", "int3"),
        ("train.batch_size", 0),
        ("train.micro_batch_tokens", 0),
        ("train.warmup", 1),
        ("train.weight_decay", -0.1),
        ("train.max_grad_norm", 0),
        ("train.max_grad_norm", float("inf")),
        ("evaluate.rows", 1),
        ("evaluate.test_seconds", float("inf")),
    ],
)
def test_an_impossible_value_is_refused_and_shown(key: str, value: Any) -> None:
    (found,) = problems(with_value(key, value))
    assert key in found and repr(value) in found


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"lora": {"method": "dora", "init": "pissa"}}, ["lora.init"]),
        ({"lora": {"method": "adalora", "lora_plus_ratio": 16}}, ["lora.lora_plus_ratio"]),
        (
            {"lora": {"method": "full", "last_layers": 2}, "model": {"quantize": "nf4"}},
            ["lora.last_layers", "model.quantize"],
        ),
        ({"lora": {"method": "full", "targets": ["q_proj"]}}, ["lora.targets"]),
        ({"lora": {"init": "olora"}, "model": {"quantize": "nf4"}}, ["model.quantize"]),
    ],
)
def test_keys_that_a_method_does_not_take_are_refused_with_what_to_leave_out(
    values: dict[str, Any], named: list[str]
) -> None:
    (found,) = problems(SMALLEST | values)
    assert all(key in found for key in named)


def test_splits_that_leave_too_little_to_train_on_are_refused() -> None:
    (found,) = problems({"name": "x", "data": {"source": "y", "val": 0.4, "test": 0.3}})
    assert "data.val" in found and "data.test" in found


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("lora.rank=4", "lora.rank", 4),
        ("train.lr=3e-4", "train.lr", 3e-4),
        ("train.lr=1", "train.lr", 1.0),
        (" train.lr = 3e-4 ", "train.lr", 3e-4),
        ("name=other", "name", "other"),
        ('name="other"', "name", "other"),
        ("name='other'", "name", "other"),
        ("data.source=some data/a=b.jsonl", "data.source", "some data/a=b.jsonl"),
        ("model.base=Qwen/Qwen2.5-0.5B", "model.base", "Qwen/Qwen2.5-0.5B"),
        (r"data.source=C:\new\rows.csv", "data.source", r"C:\new\rows.csv"),
        ('lora.targets=["q_proj", "v_proj"]', "lora.targets", ["q_proj", "v_proj"]),
        ("model.trust_remote_code=true", "model.trust_remote_code", True),
        ("evaluate.rows=7", "evaluate.rows", 7),
    ],
)
def test_an_override_changes_its_key_alone(small: str, override: str, key: str, value: Any) -> None:
    before, after = load_recipe(small).keys(), load_recipe(small, [override]).keys()
    assert after[key] == value and type(after[key]) is type(value)
    assert {k for k in after if after[k] != before[k]} == {key}


def test_the_last_override_of_a_key_wins(small: str) -> None:
    assert load_recipe(small, ["lora.rank=4", "lora.rank=2"]).lora.rank == 2


@pytest.mark.parametrize(
    "override", ["", "rank", "lora.rank", "=4", " =4", ".rank=4", "lora.=4", "lora..rank=4", "name.first=x"]
)
def test_a_malformed_override_is_quoted_and_refused(small: str, override: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(small, [override])
    (found,) = caught.value.problems
    assert f'"{override}"' in found


def test_an_override_is_one_value_and_hides_nothing_behind_it(small: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe(small, ["lora.rank=4\nalpha = 1"])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "/root", "a\\b", "-rf", ".hidden", "a b", "a\n", "ä", "x" * 65, "nul\0"]
)
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        checked_name(name, "name")
    (found,) = problems({"name": name, "data": {"source": "x"}})
    assert "name" in found and repr(name) in found


@given(st.text(max_size=70) | st.text("./\\-_aZ0 ", max_size=70))
def test_a_checked_name_is_one_visible_folder_directly_below(name: str) -> None:
    try:
        checked_name(name, "name")
    except RecipeError:
        return
    below = Path("/runs") / name
    assert below.parent == Path("/runs") and below.name == name and name not in (".", "..")
    assert name.isascii() and name.isprintable() and not name.startswith((".", "-")) and " " not in name


def test_a_recipe_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    for name in ("dmeo", str(tmp_path)):
        with pytest.raises(RecipeError) as caught:
            locate_recipe(name)
        assert all(built_in in str(caught.value) for built_in in built_in_recipes())
    with pytest.raises(RecipeError, match='did you mean "demo"'):
        locate_recipe("dmeo")


@pytest.mark.parametrize("content", [b"name = ", b"name = 'x'\nname = 'y'", b"[data\n", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"broken\.toml: not a TOML file"):
        load_recipe(str(path))


def test_a_byte_order_mark_is_no_part_of_a_recipe(small: str, tmp_path: Path) -> None:
    marked = write(tmp_path / "marked.toml", "\ufeff" + Path(small).read_text("utf-8"))
    assert load_recipe(marked) == load_recipe(small)


def test_weights_are_above_zero() -> None:
    for wrong, said in ((0, "above 0"), (-1, "above 0"), ("x", "number")):
        (found,) = problems(with_value("data.weights", {"law": wrong}))
        assert "data.weights" in found and said in found


def test_sources_have_domains_when_there_are_several() -> None:
    def sources(value: Any) -> list[tuple[str | None, str]]:
        return parse_recipe(with_value("data.source", value)).data.sources()

    assert sources("a.jsonl") == [(None, "a.jsonl")]
    assert sources({"law": "a.jsonl", "other": "b.csv#5"}) == [("law", "a.jsonl"), ("other", "b.csv#5")]
    assert sources(["x/a.jsonl", "b.csv.gz#5"]) == [("a", "x/a.jsonl"), ("b", "b.csv.gz#5")]
    assert sources(["x/a.jsonl", "y/a.jsonl"]) == [("x/a.jsonl", "x/a.jsonl"), ("y/a.jsonl", "y/a.jsonl")]


def test_every_key_is_shown_with_where_its_value_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[data]\nsource = "a.jsonl"\nseed = 3\n[train]\nlr = 1e-3\n')
    lines = resolved_lines(str(path), ["train.lr=2e-3", "lora.rank=4"])
    shown = {line.partition(" ")[0]: line.rpartition("# ")[2] for line in lines if "# " in line and " = " in line}
    assert shown["source"] == "mine.toml" and shown["lr"] == shown["rank"] == "command line"
    assert shown["epochs"] == "default"
    assert parse_recipe(tomllib.loads("\n".join(lines))) == load_recipe(str(path), ["train.lr=2e-3", "lora.rank=4"])


def test_a_metric_named_twice_is_refused() -> None:
    with pytest.raises(RecipeError, match="name each metric once"):
        parse_recipe({"name": "x", "data": {"source": "y"}, "evaluate": {"metrics": ["a:b", "a:b"]}}, "here")


def test_what_other_tools_call_a_key_is_answered_with_ours() -> None:
    own = set(parse_recipe({"name": "x", "data": {"source": "x"}}).keys())
    assert set(FOREIGN_KEYS.values()) <= own and "learning_rate" in FOREIGN_KEYS
    for word, ours in FOREIGN_KEYS.items():
        section, _, key = ours.partition(".")
        if word == key:
            continue
        values: dict[str, Any] = {"name": "x", "data": {"source": "x"}}
        values.setdefault(section, {})[word] = 1
        with pytest.raises(RecipeError, match=f'here it is called "{ours}"'):
            parse_recipe(values)


@pytest.mark.parametrize(
    ("old", "ours"),
    [("train.clip", "train.max_grad_norm"), ("train.warm_up", "train.warmup"), ("train.path", "train.kernels"),
     ("train.recompute", "train.gradient_checkpointing"), ("train.micro_tokens", "train.micro_batch_tokens"),
     ("lora.top_layers", "lora.last_layers"), ("lora.plus", "lora.lora_plus_ratio"), ("data.unseen", "data.holdout")],
)  # fmt: skip
def test_keys_by_their_earlier_names_are_answered_with_those_of_today(old: str, ours: str) -> None:
    section, _, key = old.partition(".")
    values: dict[str, Any] = {"name": "x", "data": {"source": "x"}}
    values.setdefault(section, {})[key] = 1
    with pytest.raises(RecipeError, match=f'here it is called "{ours}"'):
        parse_recipe(values)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("train", "epochs", True), ("train", "epochs", "3"), ("train", "epochs", 3.0), ("lora", "alpha", "32"),
     ("lora", "alpha", False), ("data", "strict", 1), ("data", "seed", "0"), ("evaluate", "rows", True)],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_and_not_converted(section: str, key: str, value: Any) -> None:
    values: dict[str, Any] = {"name": "x", "data": {"source": "x"}}
    values.setdefault(section, {})[key] = value
    with pytest.raises(RecipeError, match=rf"{section}\.{key}: "):
        parse_recipe(values)
