"""The training loop.

Losses arrive as a sum and a count and are divided once, so no result depends on how rows were cut into micro-batches.
The loop can be stopped at any moment, also by force, and goes on from its newest checkpoint to the same weights.
Several processes may run it together, each with its part of every step and of validation (`devices`).
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

from tailora import machine, recipe
from tailora.errors import RunError, Stopped
from tailora.model import checkpoint
from tailora.model.adalora import Ranks
from tailora.model.devices import Devices, is_sharded
from tailora.model.fence import is_out_of_memory
from tailora.model.forecast import Forecast, Held, Memory, Pace, count_tokens, needed
from tailora.model.load import Transformer
from tailora.model.lora import rate_groups
from tailora.model.losses import Loss, LossSum, micro_batches
from tailora.model.schedule import rate
from tailora.model.trial import approach, kernel_bytes, refuse
from tailora.run import Stage, progress, stop_requests
from tailora.text.batching import epoch_batches
from tailora.text.chat import Sample

_MOST_BAD = 3  # steps in a row that are not finite: one may be a freak row, three are not
_MOST_NAMED = 20
_TRIAL_SECONDS = 3.0  # in which steps are timed before the start

T = TypeVar("T")


Passes = Iterator[tuple[list[Sample], bool]]


@dataclass(frozen=True)
class Fitted:
    """How training went: the epoch whose weights were kept, and its validation loss in nats per target token."""

    best_epoch: int
    best_val_loss: float
    first_val_loss: float
    epochs: int
    steps: int
    skipped: int
    tokens: int
    seconds: float
    peak_bytes: int
    """Most memory held up to the end, as in `Forecast`."""


@dataclass
class Position:
    """Where training stands between two steps: with the tensors of `_Training`, all that decides how it goes on."""

    micro_batch_tokens: int
    epoch: int = 0
    """The epoch at work. Epoch 0 has no steps; its validation is that of the untrained model."""
    taken: int = 0
    """Steps of this epoch that are done."""
    step: int = 0
    """Steps done in all, with those that were skipped."""
    skipped: int = 0
    bad: list[list[int]] = field(default_factory=list)
    """The rows of each step that was skipped since the last good one."""
    tokens: int = 0
    seconds: float = 0.0
    first_val_loss: float | None = None
    best_val_loss: float | None = None
    best_epoch: int = 0
    without_gain: int = 0
    """Validations since the best one."""
    log_bytes: int = 0

    @property
    def name(self) -> str:
        """Of a checkpoint at this place: each place has one name."""
        return f"step-{self.step}" + ("-validated" if self.epoch and not self.taken else "")


def fit(  # noqa: PLR0913  (what a training needs, and what its user is told by)
    model: Transformer,
    train: Sequence[Sample],
    val: Sequence[Sample],
    loss: Loss,
    settings: recipe.Train,
    stage: Stage,
    ids: Sequence[str] | None = None,
    announce: Callable[[Forecast], None] | None = None,
) -> Fitted:
    """Train the trainable weights of `model` in place and leave it with the best validated ones, in evaluation mode.

    Writes one row per step and one per validation to the stage's log, and checkpoints beside it; goes on from the
    newest whole checkpoint that it finds there. `ids` are the names of the rows of `train` in messages;
    `announce` is called with what is foretold, before the first step.

    Raises:
        RunError: when losses or gradients are not finite, or memory does not hold a single row. No weight has been
            touched by such a step.
        Stopped: after SIGINT or SIGTERM, when the step is done and saved.
    """
    training = _Training(model, loss, settings, stage, len(train))
    forecast = training.try_out(train, val)
    stage.facts["plan"] = asdict(forecast)
    if announce:
        announce(forecast)
    training.begin()
    here = training.position

    with stop_requests() as stop, progress("training", training.steps, here.step) as advance:
        training.stop = stop
        while here.epoch <= settings.epochs and not training.is_stale():
            batches = list(epoch_batches(len(train), settings.batch_size, settings.seed, here.epoch))
            for rows in batches[here.taken :] if here.epoch else ():
                scale = rate(settings.schedule, here.step, training.steps, settings.warmup)
                note = training.take_step([train[row] for row in rows], rows, scale)
                training.refuse_bad_steps(train, ids)
                training.save_if_due(last=here.taken == len(batches))
                advance(note=note)
            training.validate(val)
    return training.finish()


def foretell(
    model: Transformer, train: Sequence[Sample], val: Sequence[Sample], loss: Loss, settings: recipe.Train, stage: Stage
) -> Forecast:
    """Say what `fit` would need, from the same trial; leaves the weights as they are.

    Raises:
        RunError: when it needs more memory than may be held.
    """
    return _Training(model, loss, settings, stage, len(train)).try_out(train, val)


class _Training:
    """The parts of a training: what is given, what changes with each step, and how that is saved and restored."""

    def __init__(self, model: Transformer, loss: Loss, settings: recipe.Train, stage: Stage, rows: int) -> None:
        self.model, self.loss, self.settings, self.stage = model, loss, settings, stage
        self.lr = float(settings.lr)  # "auto" has become a number before
        self.steps = settings.epochs * math.ceil(rows / settings.batch_size)
        self.ranks = Ranks(model, self.steps)
        self.weights, self.optimizer = optimised(model, settings)
        set_rate(self.optimizer, self.lr)
        self.best = copied(self.weights)
        self.position = Position(settings.micro_batch_tokens)
        self.stop: Callable[[], int | None] = lambda: None
        self.devices = Devices.here()
        self.tried_bytes = math.inf
        self.started = self.saved = time.monotonic()

    def try_out(self, train: Sequence[Sample], val: Sequence[Sample]) -> Forecast:
        """Take steps on the largest pass and on the first rows, and take them back: says what training will need.

        Raises:
            RunError: when that is more memory than may be held; says what to change.
        """
        started, limit, rows = time.monotonic(), _memory_limit(self.settings), self._largest_pass(train)
        measured = [Held(0, machine.resident_bytes())]
        if machine.device() == "cpu":
            measured += approach(self._try_pass, rows)
            self._require_memory(rows, measured, limit)
        self._try_pass(rows)
        measured.append(Held(count_tokens(rows), machine.held_memory_bytes()))
        self._require_memory(rows, measured, limit)
        pace = self._pace(train, val)
        measured[-1] = Held(count_tokens(rows), machine.held_memory_bytes())
        self._require_memory(rows, measured, limit)
        fill(self.weights, self.best)
        self.optimizer.state.clear()
        self.tried_bytes = measured[-1].peak_bytes
        memory = Memory(self._foreseen(rows, measured), limit)
        return self._forecast(train, val, pace, time.monotonic() - started, memory)

    def _largest_pass(self, train: Sequence[Sample]) -> list[Sample]:
        """Return the rows of the largest pass that a step can hold."""
        longest = _longest(train, self.settings.batch_size)
        passes = micro_batches(self.model, longest, self.position.micro_batch_tokens)
        return max(passes, key=count_tokens)

    def _foreseen(self, rows: list[Sample], measured: list[Held]) -> int:
        """Return the one estimate of memory, which is printed, decides, and is held to."""
        if machine.device() != "cpu":
            return measured[-1].peak_bytes
        return needed(count_tokens(rows), measured, kernel_bytes(self.model))

    def _require_memory(self, rows: list[Sample], measured: list[Held], limit: int | None) -> None:
        if machine.device() != "cpu" or limit is None or len(measured) < 2:  # on a GPU passes are halved instead
            return
        if self._foreseen(rows, measured) > limit:
            raise refuse(self.model, self.loss, self.settings, rows, measured, limit)

    def _try_pass(self, rows: list[Sample]) -> None:
        self._try_step(rows * self.devices.count)  # the same in each process

    def _try_step(self, samples: Sequence[Sample]) -> None:
        self.model.train()
        self._accumulate(samples)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _pace(self, train: Sequence[Sample], val: Sequence[Sample]) -> Pace:
        """Time the first steps, for as long as a trial may take but one at least, and a part of validation.

        The very first warms up, and counts only where there is no other.
        """
        times, tokens = [time.monotonic()], [0]
        for rows in epoch_batches(len(train), self.settings.batch_size, self.settings.seed, 1):
            samples = [train[row] for row in rows]
            self._try_step(samples)
            times.append(time.monotonic())
            tokens.append(tokens[-1] + count_tokens(samples))
            if self.devices.highest(int(times[-1] - times[0] > _TRIAL_SECONDS)):
                break
        warm = 1 if len(times) > 2 else 0
        part = val[: self.settings.batch_size]
        self._validation_loss(part)
        reading = (time.monotonic() - times[-1]) / count_tokens(part)
        return Pace((times[-1] - times[warm]) / (tokens[-1] - tokens[warm]), reading)

    def _forecast(
        self, train: Sequence[Sample], val: Sequence[Sample], pace: Pace, took: float, memory: Memory
    ) -> Forecast:
        epochs, tokens = self.settings.epochs, count_tokens(train)
        validation = (epochs + 1) * count_tokens(val) * pace.validation
        return Forecast(
            peak_bytes=memory.peak_bytes,
            limit_bytes=memory.limit_bytes,
            seconds=epochs * tokens * pace.step + validation,
            validation_seconds=validation,
            steps=self.steps,
            tokens_an_epoch=tokens,
            tokens_per_second=1 / pace.step,
            validation_pace=pace.validation,
            trial_seconds=took,
        )

    def begin(self) -> None:
        """Go on from the newest checkpoint, or else begin with an empty log and save that, to see that it works."""
        found = self.devices.tell(_load(checkpoint.newest(self.stage)) if self.devices.first else None)
        if found:
            self._restore(*found)
        else:
            fill(self.weights, self.devices.tell(self.best))  # the first weights of all are those of the first process
            self.best = copied(self.weights)
            if self.devices.first:
                self.stage.cut_log(0)
            self.save()
        self.stage.seconds = self.position.seconds
        self.started = time.monotonic() - self.position.seconds

    def take_step(self, samples: list[Sample], rows: list[int], scale: float) -> str:
        """Take one optimizer step on the token-weighted mean over `samples`, log it, and describe it for the bar.

        A step whose loss or gradient is not finite is skipped, counted, logged and said.
        """
        here = self.position
        self.model.train()
        nats, targets = self._accumulate(samples)
        self.ranks.penalise()
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.settings.max_grad_norm).item()
        finite = math.isfinite(nats) and math.isfinite(norm)
        here.step, here.taken = here.step + 1, here.taken + 1
        here.tokens += count_tokens(samples)
        here.seconds = time.monotonic() - self.started
        if finite:
            here.bad = []
            set_rate(self.optimizer, self.lr * scale)
            self.optimizer.step()
            taken = {"loss": nats / targets, "grad_norm": norm, "lr": self.lr * scale}
            counted = {"tokens": here.tokens, "seconds": round(here.seconds, 2)}
            self.stage.log({"split": "train", "step": here.step, "epoch": here.epoch, **taken, **counted})
        else:
            self._skip(rows, nats / targets, norm)
        self.ranks.share_out(here.step, finite)
        self.optimizer.zero_grad(set_to_none=True)
        speed = here.tokens / here.seconds
        return f"loss {nats / targets:.3f}  {speed:,.0f} tokens/s  {machine.held_memory_bytes() / 2**30:.1f} GiB"

    def _in_plan(self, model: Transformer, samples: list[Sample]) -> LossSum:
        """Return the loss of a pass, which begins with no more memory than the whole trial has held.

        What was freed is kept for the next pass, but lies in pieces that rows of other lengths do not fit into: without
        a bound it grows by half or more. So a pass adds to what the trial held at most what it does not find room for.
        """
        if machine.device() == "cpu" and machine.resident_bytes() > self.tried_bytes:
            machine.give_back_freed_memory()
        return self.loss(model, samples)

    def _skip(self, rows: list[int], loss: float, norm: float) -> None:
        here = self.position
        here.skipped, here.bad = here.skipped + 1, [*here.bad, rows]
        about = {"loss": str(loss), "grad_norm": str(norm), "rows": rows}  # as text: JSON has no NaN
        self.stage.log({"split": "skipped", "step": here.step, "epoch": here.epoch, **about})
        self.stage.say(f"step {here.step} was skipped: loss {loss}, gradient norm {norm}")

    def refuse_bad_steps(self, train: Sequence[Sample], ids: Sequence[str] | None) -> None:
        """Raise RunError when too many steps in a row were skipped; name their rows, the guilty ones if they show."""
        here = self.position
        if len(here.bad) < _MOST_BAD:
            return
        rows = list(dict.fromkeys(row for step in here.bad for row in step))
        alone = [row for row in rows if not math.isfinite(self._validation_loss([train[row]]))]
        names = [ids[row] if ids else str(row) for row in alone or rows]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise RunError(
            f"training stopped at step {here.step}: {_MOST_BAD} steps in a row had a loss or gradient that is not "
            f"finite, and changed no weight. {'Rows with such a loss' if alone else 'Their rows'}: "
            f"{', '.join(names[:_MOST_NAMED])}{more}. Look at these rows, or lower train.lr "
            f"(now {self.settings.lr}) and start anew with --fresh."
        )

    def validate(self, val: Sequence[Sample]) -> None:
        """Measure the loss on `val`, keep the weights if they are the best so far, and save; ends the epoch."""
        here = self.position
        loss = self._validation_loss(val)
        if not math.isfinite(loss):
            raise RunError(
                f"training stopped after epoch {here.epoch}: the validation loss is {loss}. "
                + (f"Lower train.lr (now {self.settings.lr})." if here.epoch else "The base model itself is broken.")
            )
        self.stage.log({"split": "val", "step": here.step, "epoch": here.epoch, "loss": loss})
        shared_out = self.ranks.is_shared_out(here.step)
        here.without_gain += shared_out
        if shared_out and (here.best_val_loss is None or loss < here.best_val_loss):
            here.best_val_loss, here.best_epoch, here.without_gain = loss, here.epoch, 0
            self.best = copied(self.weights)
        here.first_val_loss = loss if here.first_val_loss is None else here.first_val_loss
        here.epoch, here.taken, here.seconds = here.epoch + 1, 0, time.monotonic() - self.started
        self.save()
        self._stop_if_asked()

    def is_stale(self) -> bool:
        """Say whether `train.patience` is used up."""
        return self.settings.patience is not None and self.position.without_gain >= self.settings.patience

    def finish(self) -> Fitted:
        """Put the best weights into the model, and say how it went."""
        here = self.position
        fill(self.weights, self.best)
        self.model.eval()
        assert here.best_val_loss is not None and here.first_val_loss is not None  # epoch 0 has been validated
        return Fitted(
            best_epoch=here.best_epoch,
            best_val_loss=here.best_val_loss,
            first_val_loss=here.first_val_loss,
            epochs=here.epoch - 1,
            steps=here.step,
            skipped=here.skipped,
            tokens=here.tokens,
            seconds=here.seconds,
            peak_bytes=machine.held_memory_bytes(),
        )

    def save_if_due(self, last: bool) -> None:
        """Save when `train.save_minutes` have gone by; after the `last` step of an epoch, `validate` will."""
        if not last and time.monotonic() - self.saved >= 60 * self.settings.save_minutes:
            self.save()
        self._stop_if_asked()

    def save(self) -> None:
        """Save a checkpoint of this place; the first process does, since all of them hold the same."""
        if not self.devices.first:
            return
        self.position.log_bytes = self.stage.log_bytes()
        groups = {
            "weights": copied(self.weights),
            "best": self.best,
            "optimizer": self._optimizer_state(),
            "ranks": self.ranks.state(),
        }
        checkpoint.save(self.stage, self.position.name, asdict(self.position), groups)
        self.saved = time.monotonic()

    def _restore(self, position: Position, saved: dict[str, checkpoint.Tensors]) -> None:
        self.position = here = position
        if self.devices.first:
            self.stage.cut_log(here.log_bytes)
        fill(self.weights, saved["weights"])
        fill(self.best, saved["best"])
        self._fill_optimizer(saved["optimizer"])
        self.ranks.restore(saved["ranks"])
        self.stage.say(f"resuming at step {here.step} (epoch {max(1, here.epoch)} of {self.settings.epochs})")

    def _stop_if_asked(self) -> None:
        """Save and raise Stopped when a signal has come to any process; called by all, where no step is half done."""
        number = self.devices.highest(self.stop() or 0)
        if not number:
            return
        self.save()
        self.devices.wait()  # a launcher that sees one of them end ends the others
        raise Stopped(f"interrupted and saved at step {self.position.step}. Run the same command to resume.", number)

    def _optimizer_state(self) -> checkpoint.Tensors:
        states = zip(self.weights, self.weights.values(), strict=True)
        return {f"{key}/{name}": value for name, w in states for key, value in self.optimizer.state.get(w, {}).items()}

    def _fill_optimizer(self, tensors: checkpoint.Tensors) -> None:
        numbers = {name: number for number, name in enumerate(self.weights)}
        state: dict[int, checkpoint.Tensors] = {}
        for place, tensor in tensors.items():
            key, _, name = place.partition("/")
            state.setdefault(numbers[name], {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _accumulate(self, samples: Sequence[Sample]) -> tuple[float, int]:
        """Leave the gradient of the mean loss per target token over `samples` on the weights of every process.

        Returns the summed nats and the number of targets.
        """

        def work(tokens: int) -> float:
            torch.manual_seed(self._dropout_seed())
            return accumulate(self.model, samples, self._in_plan, tokens, self.devices)[0]

        nats = self._within_memory(samples, work)
        self.devices.add_gradients(list(self.weights.values()))
        (nats,) = self.devices.add(nats)
        return nats, sum(sample.targets for sample in samples)

    def _dropout_seed(self) -> int:
        """Return a pure function of seed, step and process: dropout needs no state of its own in a checkpoint."""
        return random.Random(f"{self.settings.seed}/{self.position.step}/{self.devices.number}").getrandbits(63)

    def _validation_loss(self, samples: Sequence[Sample]) -> float:
        def work(tokens: int) -> tuple[float, int]:
            return _loss_sum(_passes(self.model, samples, tokens, self.devices), self.model, self._in_plan, self.stop)

        nats, targets = self.devices.add(*self._within_memory(samples, work))
        self._stop_if_asked()  # then the sum may lack rows
        return nats / targets

    def _within_memory(self, samples: Sequence[Sample], work: Callable[[int], T]) -> T:
        """Do `work` with `train.micro_batch_tokens`, halved as often as memory runs out; the batch stays whole."""
        while True:
            done = None
            try:
                done = work(self.position.micro_batch_tokens)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if is_sharded(self.model):  # the others wait for this one within a layer, and cannot be asked
                    raise self._too_long(samples) from None
            # Until the handler is left, its traceback holds the tensors that fill the memory.
            if not self.devices.highest(int(done is None)):
                assert done is not None
                return done
            self.optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            self._halve(samples)

    def _too_long(self, samples: Sequence[Sample]) -> RunError:
        smaller = "train.micro_batch_tokens, " if is_sharded(self.model) else ""
        return RunError(
            f"a row of {len(_longest(samples, 1)[0].tokens):,} tokens does not fit into memory. "
            f"Lower {smaller}model.max_length or lora.rank, or choose a smaller base model."
        )

    def _halve(self, samples: Sequence[Sample]) -> None:
        now = self.position.micro_batch_tokens
        if all(len(batch) == 1 for batch in micro_batches(self.model, samples, now)):
            raise self._too_long(samples)
        self.position.micro_batch_tokens = now // 2
        self.stage.say(
            f"out of memory: train.micro_batch_tokens {now:,} → {now // 2:,}; optimizer steps hold the same rows"
        )


def optimised(model: Module, settings: recipe.Train) -> tuple[dict[str, Parameter], Optimizer]:
    """Return the trained weights of `model` by name, and AdamW over them; its rate is what `set_rate` sets."""
    groups = rate_groups(model)
    optimizer = torch.optim.AdamW(
        [{"params": list(group.values()), "factor": factor} for factor, group in groups],
        weight_decay=settings.weight_decay,
    )
    return {name: weight for _, group in groups for name, weight in group.items()}, optimizer


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Let the next step of `optimizer` have this learning rate, times the factor of each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def accumulate(
    model: Transformer, samples: Sequence[Sample], loss: Loss, micro_batch_tokens: int, devices: Devices | None = None
) -> tuple[float, int]:
    """Add to the gradient of the mean loss per target token over `samples` what the part of this process adds.

    Returns the summed nats of that part, and the number of targets in all parts. Without `devices` the part is all.
    """
    targets = sum(sample.targets for sample in samples)
    total = 0.0
    for batch, idle in _passes(model, samples, micro_batch_tokens, devices or Devices()):
        part = loss(model, batch)
        (part.nats * 0 if idle else part.nats / targets).backward()
        total += 0.0 if idle else part.nats.item()
    return total, targets


def validate(model: Transformer, samples: Sequence[Sample], loss: Loss, micro_batch_tokens: int) -> float:
    """Return the loss over all `samples` in nats per target token."""
    nats, targets = _loss_sum(_passes(model, samples, micro_batch_tokens, Devices()), model, loss, lambda: None)
    return nats / targets


def _loss_sum(passes: Passes, model: Transformer, loss: Loss, stop: Callable[[], int | None]) -> tuple[float, int]:
    """Return the loss of `passes`, left early when `stop` returns a signal."""
    model.eval()
    in_step = is_sharded(model)
    nats, targets = 0.0, 0
    # What FSDP puts together in inference mode could not be trained with afterwards.
    with torch.no_grad() if in_step else torch.inference_mode():
        for batch, idle in passes:
            if stop() and not in_step:
                break
            part = loss(model, batch)
            if not idle:
                nats, targets = nats + part.nats.item(), targets + part.targets
    return nats, targets


def _passes(model: Transformer, samples: Sequence[Sample], micro_batch_tokens: int, devices: Devices) -> Passes:
    """Yield the micro-batches of this process, and whether they are idle and must not count.

    Processes that share layers have to pass through them equally often: who has done its part passes a row idly.
    """
    batches = list(micro_batches(model, devices.own(samples), micro_batch_tokens))
    rounds = devices.highest(len(batches)) if is_sharded(model) else len(batches)
    idle = [samples[0]]
    for batch, _ in itertools.zip_longest(batches, range(rounds)):
        yield batch or idle, batch is None


def _load(found: checkpoint.Checkpoint | None) -> tuple[Position, dict[str, checkpoint.Tensors]] | None:
    """Return the position and the tensors of a checkpoint."""
    if found is None:
        return None
    return Position(**found.position), {group: found.load(group) for group in ("weights", "best", "optimizer", "ranks")}


def _memory_limit(settings: recipe.Train) -> int | None:
    """Return the bytes that this process may hold, or None where the system does not say."""
    if settings.memory_mb is not None:
        return settings.memory_mb * 2**20
    return machine.memory_limit_bytes()


def _longest(samples: Sequence[Sample], count: int) -> list[Sample]:
    return sorted(samples, key=lambda sample: -len(sample.tokens))[:count]


def copied(weights: Mapping[str, Tensor]) -> checkpoint.Tensors:
    """Return a copy of each weight, without gradients."""
    return {name: weight.detach().clone() for name, weight in weights.items()}


def fill(weights: Mapping[str, Tensor], saved: checkpoint.Tensors) -> None:
    """Give each weight the values of its copy, in place."""
    for name, weight in weights.items():
        weight.data.copy_(saved[name])
