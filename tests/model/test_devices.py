"""What was asked for and what was started are compared before anything else happens."""

import pytest

from tailora import machine, recipe
from tailora.errors import RunError
from tailora.model.devices import Devices, check_launch

TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no"}
# What the recipe asks for, what the launcher says, and what the answer must hold.
MISTAKES = {
    "more processes than started": ({"processes": 2}, {}, "train.processes = 2, but 1 was started"),
    "fewer processes than started": ({"processes": 1}, TORCHRUN, "train.processes = 1, but 2 were started"),
    "shards for one": ({"shard": True}, {}, "train.shard .*torchrun"),
    "one process of several": (
        {},
        ACCELERATE | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
        "accelerate launch.*started this one alone.*torchrun --nproc_per_node 2",
    ),
    "FSDP that the recipe does not name": ({}, TORCHRUN | {"ACCELERATE_USE_FSDP": "true"}, "train.shard = true"),
    "DeepSpeed": ({}, TORCHRUN | {"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
    "mixed precision": ({}, TORCHRUN | {"ACCELERATE_MIXED_PRECISION": "bf16"}, "model.dtype"),
    "a compiler": ({}, TORCHRUN | {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "a compiler"),
}
RIGHT = [
    ({}, {}),
    ({"processes": 1}, {}),
    ({}, {"MASTER_ADDR": "node-1"}),  # a cluster's own, for what it starts later
    ({"processes": 2}, TORCHRUN),
    ({"shard": True}, TORCHRUN | ACCELERATE | {"ACCELERATE_USE_FSDP": "true"}),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_difference_between_what_was_asked_and_what_was_started_is_an_error(mistake: str) -> None:
    keys, launched, message = MISTAKES[mistake]
    with pytest.raises(RunError, match=message):
        check_launch(recipe.Train(**keys), launched)


@pytest.mark.parametrize("keys, launched", RIGHT)
def test_what_was_started_as_asked_is_no_mistake(keys: dict[str, int], launched: dict[str, str]) -> None:
    check_launch(recipe.Train(**keys), launched)


def test_a_process_without_a_launcher_is_the_first_and_only_one() -> None:
    assert machine.place({}) == machine.Place(0, 1)
    assert machine.place(TORCHRUN) == machine.Place(1, 2)
    alone = Devices.here()
    assert alone == Devices(0, 1) and alone.first
    assert alone.add(1.5, 2) == [1.5, 2] and alone.highest(15) == 15 and alone.tell("word") == "word"
