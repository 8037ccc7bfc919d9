"""The comparison of methods asks for recipes that exist, on the same rows and steps, and shows each of them."""

import pytest

from benchmarks.methods import HEADER, METHODS, SHARED, table
from tailora.recipe import load_recipe


@pytest.mark.parametrize("name", METHODS)
def test_each_method_differs_from_the_first_in_its_own_keys_alone(name: str) -> None:
    first, asked = (load_recipe("demo", [*SHARED, *METHODS[kind][1]]).keys() for kind in ("lora", name))
    changed = {key for key, value in asked.items() if first[key] != value}
    assert changed == {key.partition("=")[0] for key in METHODS[name][1]}
    assert changed <= {key for key in asked if key.startswith("lora.")} | {"train.lr", "model.quantize"}


def test_the_table_has_a_line_for_each_method_and_the_ranks_of_each_layer() -> None:
    row = {
        "lr": 0.005, "val_loss": [2.0, 1.0], "trainable": 10, "weights": 100, "peak_bytes": 1.5e9, "seconds": 60.0,
        "saved_bytes": 2e6, "steps": 30, "ranks": None, "when": "2026-11-21", "versions": {"torch": "2", "peft": None},
        "bits_per_byte": {"base": 0.9, "tuned": 0.5, "difference": -0.4, "low": -0.5, "high": -0.3, "n": 100},
        "machine": {"processor": "P", "cores": 2, "threads": "1"},
    }  # fmt: skip
    rows = {name: row | {"method": name, "said": METHODS[name][0]} for name in METHODS}
    rows["adalora"]["ranks"] = {"layers.0.q_proj": 3, "layers.1.q_proj": 0}
    lines = table(rows).splitlines()
    assert lines[0] == HEADER and lines[1].count("---") == HEADER.count("|") - 1
    for said, _ in METHODS.values():
        assert sum(line.startswith(f"| {said} |") for line in lines) == 1
    assert "| q_proj | 3 0 |" in lines
    assert any("3 in 2 layers: 1 × 0, 1 × 3" in line for line in lines)
