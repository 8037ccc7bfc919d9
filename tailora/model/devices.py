"""Processes that train together, each on a device of its own: who takes part, what each takes, and what they add up.

Data parallel: each process holds the whole adapter and computes what its rows of a step add to the gradient; the parts
are summed once a step, so all of them take the same step. Nothing is averaged: losses are divided by the targets of
the whole step before they are summed, so shares may be of different size. The first process (number 0) alone reads
and writes files.

How many were started is checked before anything is loaded, so torch is imported where processes speak to each other.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from tailora import machine, recipe
from tailora.errors import RunError
from tailora.text.batching import even_parts
from tailora.text.chat import Sample

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from torch.nn import Module

# The first process may prepare for long while the others wait for it. One that is silent for longer has died.
_PATIENCE = timedelta(hours=1)
# What a launcher tells the processes that it starts.
_PLACE = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "ROLE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)
# What `accelerate launch` may ask for and we do not do: the variable, the value that asks for nothing, and our word.
_NOT_OURS = {
    "ACCELERATE_USE_DEEPSPEED": ("false", "DeepSpeed"),
    "ACCELERATE_USE_MEGATRON_LM": ("false", "Megatron-LM"),
    "ACCELERATE_MIXED_PRECISION": ("no", "mixed precision; model.dtype decides that here"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "a compiler"),
}

T = TypeVar("T")


@dataclass(frozen=True)
class Devices:
    """The number of this process, from 0, and how many train together."""

    number: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> "Devices":
        """Return the group that this process is in now, or itself alone."""
        import torch.distributed as group

        if not (group.is_available() and group.is_initialized()):
            return cls()
        return cls(group.get_rank(), group.get_world_size())

    @property
    def first(self) -> bool:
        """Say whether this process is the one that reads and writes files."""
        return self.number == 0

    def own(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Return the part of `samples` that falls to this process: of each length about its share."""
        return samples if self.count == 1 else even_parts(samples, self.count)[self.number]

    def add(self, *numbers: float) -> list[float]:
        """Return each number summed over all processes."""
        return list(numbers) if self.count == 1 else self._reduced(numbers, "SUM")

    def highest(self, number: int) -> int:
        """Return the highest number that a process has given."""
        return number if self.count == 1 else int(self._reduced([number], "MAX")[0])

    def _reduced(self, numbers: Sequence[float], how: str) -> list[float]:
        import torch
        import torch.distributed as group

        tensor = torch.tensor(numbers, dtype=torch.float64, device=machine.device())
        group.all_reduce(tensor, getattr(group.ReduceOp, how))
        return tensor.tolist()

    def add_gradients(self, weights: Sequence["Tensor"]) -> None:
        """Replace the gradient of each weight by its sum over all processes; one that has none adds nothing."""
        import torch
        import torch.distributed as group

        if self.count == 1:
            return
        for kind in {weight.dtype for weight in weights}:
            alike = [weight for weight in weights if weight.dtype == kind]
            # One message for all of them: adapters are many small tensors, and each message costs a round trip.
            flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in alike])
            group.all_reduce(flat)
            for weight, part in zip(alike, flat.split([weight.numel() for weight in alike]), strict=True):
                weight.grad = part.view_as(weight)

    def tell(self, thing: T) -> T:
        """Return what the first process gives, in all of them; the others give anything."""
        import torch.distributed as group

        if self.count == 1:
            return thing
        box = [thing]
        group.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait until all processes have come this far."""
        self.highest(0)


def check_launch(settings: recipe.Train, launched: Mapping[str, str] = os.environ) -> None:
    """Compare what the recipe and the launcher ask for with the processes that were started; imports no torch.

    Raises:
        RunError: when they differ.
    """
    count = machine.place(launched).count
    asked = settings.processes
    if {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"} <= launched.keys() and "RANK" not in launched:
        # `accelerate launch --cpu --num_processes 2` starts one process, and says so nowhere but here.
        raise RunError(
            "`accelerate launch` was asked for several processes (it set MASTER_ADDR) and started this one alone, "
            f"as it does on a processor. Use `torchrun --nproc_per_node {asked or 2} -m tailora …`."
        )
    if asked is not None and asked != count:
        raise RunError(
            f"train.processes = {asked}, but {count} {'was' if count == 1 else 'were'} started. Start them with "
            f"`torchrun --nproc_per_node {asked} -m tailora …` (on one machine), or leave train.processes out."
        )
    if settings.shard and count == 1:
        raise RunError(
            "train.shard splits the base over several processes, but one was started. Start more with "
            "`torchrun --nproc_per_node 2 -m tailora …`, or leave train.shard out."
        )
    wants_shards = launched.get("ACCELERATE_USE_FSDP", "false") == "true"
    if wants_shards and not settings.shard:
        raise RunError("accelerate asks for FSDP, the recipe does not: write train.shard = true, or launch without.")
    for variable, (nothing, what) in _NOT_OURS.items():
        if launched.get(variable, nothing).lower() != nothing:
            raise RunError(f"accelerate asks for {what} ({variable}={launched[variable]}): launch without it.")


@contextlib.contextmanager
def joined() -> Iterator[Devices]:
    """Train together with the other processes that the launcher started, within the block; alone where there are none.

    After the block this process is on its own for good.

    Raises:
        RunError: when another number of processes comes together than the launcher promised, or one of them dies.
    """
    place = machine.place()
    if place.count == 1:
        yield Devices()
        return
    from accelerate import PartialState

    state = PartialState(cpu=machine.device() == "cpu", timeout=_PATIENCE)
    here = Devices.here()
    if machine.Place(here.number, here.count) != place:
        raise RunError(f"process {place.number} of {place.count} was started, but it is {here.number} of {here.count}.")
    with _deaths_explained():
        yield here
    state.destroy_process_group()
    PartialState._reset_state()
    for variable in _PLACE:
        os.environ.pop(variable, None)


@contextlib.contextmanager
def _deaths_explained() -> Iterator[None]:
    import torch.distributed as group

    try:
        yield
    except RuntimeError as error:
        if isinstance(error, group.DistError) or "gloo" in str(error):  # gloo's errors are of no class of their own
            raise RunError(f"a process that trained with this one has ended; see what it said ({error}).") from error
        raise


def dismiss() -> None:
    """Tell processes that wait to train with this one that there is nothing to do."""
    if machine.place().count > 1:
        with joined() as here:
            here.tell(None)


def shard(model: "PeftModel", here: Devices) -> None:
    """Split the frozen weights of each layer of `model` over all processes (FSDP2), in place.

    They are put together layer by layer while a pass needs them. Adapters, embeddings and the output head stay whole
    in each process, so the steps, checkpoints and files of training are the same as without.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    base = model.get_base_model()
    kinds = set(base._no_split_modules or [])
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    if not layers:
        raise RunError(f"train.shard: {type(base).__name__} does not say what its layers are; leave it out.")
    trained = {weight for weight in model.parameters() if weight.requires_grad}
    inside = {weight for layer in layers for weight in layer.parameters()}
    outside = {weight for weight in base.parameters() if weight not in inside}
    mesh = init_device_mesh(machine.device(), (here.count,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    fully_shard(base.base_model, mesh=mesh, ignored_params=trained | outside)


def weights_here(model: "Module") -> int:
    """Return the number of weights that this process holds."""
    locals_ = (weight.to_local() if hasattr(weight, "to_local") else weight for weight in model.parameters())
    return sum(weight.numel() for weight in locals_)


def is_sharded(model: "Module") -> bool:
    """Say whether passes through `model` are made by all processes in step."""
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())
