"""Examples → adapter."""

from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from tailora import files, machine
from tailora.data.split import Splits
from tailora.errors import ModelError, RunError
from tailora.files import Row
from tailora.model.devices import Devices, check_launch, dismiss, joined, shard, weights_here
from tailora.model.forecast import Forecast
from tailora.pipeline.prepare import prepare
from tailora.present.data import budget_line, budget_warnings
from tailora.present.model_card import model_card
from tailora.present.training import forecast_line
from tailora.provenance import require_same
from tailora.recipe import Recipe
from tailora.recipe import Train as TrainSettings
from tailora.run import Run, Stage, note, tell, warn
from tailora.tasks.base import Task
from tailora.text.chat import Sample
from tailora.track import check_trackers, trackers

# The splits that decide what training makes of a recipe.
_LEARNED = ("train", "val")


class _Job(NamedTuple):
    """What the first process tells the others that train with it."""

    keys: dict[str, Any]
    labels: Row | None
    """The classes of a classifier, as prepare has written them."""
    lr: Any
    base: str
    path: Any
    train: list[Sample]
    val: list[Sample]
    ids: list[str]


def train(run: Run) -> Run:
    """Fine-tune the base model of `run` with LoRA; the adapter lands in `<run>/train/adapter/`.

    Returns at once when that is done, and goes on from the newest checkpoint when it was interrupted. Of several
    processes that a launcher started, the first does everything and the others only help it to train.

    Raises:
        ModelError: when the base model cannot be loaded.
        RunError: when no row fits the model, losses are not finite, the interrupted training was made from other
            values, or another process works on the run.
        Stopped: after SIGINT or SIGTERM, when what was learned so far is saved.
    """
    from tailora.model.locate import locate_base

    if machine.place().number:
        return _help(run)
    recipe = run.recipe
    if run.is_done("train"):
        dismiss()
        return run
    check_launch(recipe.train)
    with run.lock():
        locate_base(recipe.model.base)
        check_trackers(recipe.train.trackers)
        splits = prepare(run)
        with run.stage("train", resume=True) as stage, joined() as group:
            _train(run, splits, stage, group)
        files.remove_folder(run.folder / "train" / "checkpoints")  # only now: killed before, they are still needed
    return run


def _train(run: Run, splits: Splits, stage: Stage, group: Devices) -> None:
    from tailora.model import checkpoint
    from tailora.model.fit import fit
    from tailora.model.lora import adalora_ranks
    from tailora.tasks import read_labels

    recipe = run.recipe
    stage.made_from |= {f"{name} rows": files.sha256(run.folder / "prepare" / f"{name}.jsonl") for name in _LEARNED}
    checkpoint.newest(stage)  # one that cannot be continued is refused before the model is loaded
    model, tokenizer, task, samples, ids = set_up(run, splits, stage)
    stage.facts["processes"] = group.count
    stage.made_from |= stage.facts["fingerprints"]
    _save_adapter(model, tokenizer, stage)  # what cannot be saved fails now, not in the end
    settings = _with_rate(model, samples["train"], task.loss, recipe.train, stage)
    base, path = stage.facts["fingerprints"]["base"], stage.facts["path"]["name"]
    labels = read_labels(recipe, run.folder)
    group.tell(_Job(_trained_by(recipe), labels, settings.lr, base, path, samples["train"], samples["val"], ids))
    if recipe.train.shard:
        shard(model, group)
    stage.facts["weights"]["here"] = weights_here(model)
    with trackers(recipe.train.trackers, recipe.name, stage.folder, recipe.keys()) as stage.listeners:
        fitted = fit(model, samples["train"], samples["val"], task.loss, settings, stage, ids, _announce)
    stage.facts |= {"fitted": asdict(fitted), "lr": settings.lr}
    if ranks := adalora_ranks(model):
        stage.facts["ranks"] = ranks
        tell(
            "train",
            f"ranks: {min(ranks.values())} to {max(ranks.values())} by layer, {mean(ranks.values()):.1f} on average",
        )
    files.write_jsonl(stage.folder / "lengths.jsonl", map(_length, samples["train"]))
    _save_adapter(model, tokenizer, stage)
    _name_base(stage.folder / "adapter" / "adapter_config.json", recipe.model.base)
    files.write_text(stage.folder / "adapter" / "README.md", model_card(recipe, stage.facts))
    stage.facts["adapter"] = files.hash_of_weights(stage.folder / "adapter")


class Ready(NamedTuple):
    """All that training needs: a model with adapters, what belongs to it, and samples that fit, by split."""

    model: Any
    tokenizer: Any
    task: Any
    samples: dict[str, list[Sample]]
    ids: list[str]


def set_up(run: Run, splits: Splits, stage: Stage) -> Ready:
    """Load the model and encode the rows; what is found out goes to the user and to the facts of `stage`."""
    from tailora.model import load
    from tailora.model.locate import origin_of
    from tailora.model.lora import count_weights
    from tailora.model.targets import astray, stacked_experts
    from tailora.tasks import task_for

    recipe = run.recipe
    machine.keep_freed_memory()
    machine.keep_few_kernels()
    task = task_for(recipe, run.folder)
    tokenizer = task.prompts.tokenizer
    model = task.load(recipe.model)
    base = load.base_fingerprint(model)
    longest = task.longest(model, recipe.model)
    fitting = {name: task.fit(getattr(splits, name), longest, name) for name in _LEARNED}
    samples = {name: part.samples for name, part in fitting.items()}
    load.refuse_unknown_ids(model, (sample.tokens for part in samples.values() for sample in part))
    budgets = {name: asdict(part.budget) for name, part in fitting.items()}
    tell("train", budget_line(budgets["train"], recipe.task))
    for line in budget_warnings(budgets):
        warn("train", line)
    for line in task.prompts.remarks():
        note("train", line)
    if recipe.lora.method != "full" and (out := astray(model, recipe.lora.targets)):
        stage.say(f"{out:,} layers named in lora.targets lie where no text comes by: they get no adapter")
    model, path = _adapted(model, task, recipe, recipe.train.kernels, samples["train"])
    if recipe.lora.method != "full" and (experts := stacked_experts(model)):
        stage.say(f"{experts:,} weights of experts lie in stacks, which are no linear layers: they get no adapter")
    if path.why:
        stage.say(f"using the {'reference' if path.name == 'plain' else 'fast'} kernels: {path.why}")
    if recipe.lora.last_layers and recipe.task == "generate":
        _keep_prefix(model, [*samples["train"], *samples["val"]], stage)
    stage.facts |= {
        "origin": origin_of(recipe.model.base),
        "device": machine.device(),
        "fingerprints": {"base": base, "prompts": task.prompts.fingerprint()},
        "weights": count_weights(model),
        "path": path._asdict(),
        "tokens": budgets,
        "remarks": task.prompts.remarks(),
    }
    if recipe.task == "classify":
        stage.facts |= {"labels": task.prompts.names, "head": model.tailora_head, "untrained": model.tailora_untrained}
    return Ready(model, tokenizer, task, samples, [row["id"] for row in fitting["train"].rows])


def _adapted(model: Any, task: Task, recipe: Recipe, wish: Any, samples: list[Sample]) -> tuple[Any, Any]:
    """Return a base model with adapters, ready to be trained on `samples`, and the path of its losses."""
    from tailora.model import load
    from tailora.model.fence import fenced
    from tailora.model.losses import recompute_activations
    from tailora.model.proofs import add_proved_lora, prove_rows

    model = add_proved_lora(model, recipe.lora, recipe.train.seed, samples)
    load.freeze_dtype(model, recipe.model)
    with fenced(f"model.base: {recipe.model.base} fails on a few short rows", "Choose another base model"):
        path = task.choose_path(model, recipe.train.model_copy(update={"kernels": wish}))
    prove_rows(model, task.row_losses, samples)
    if path.pads:
        load.choose_attention(model, max(len(sample.tokens) for sample in samples))
    if recipe.train.gradient_checkpointing:
        recompute_activations(model)
    return model, path


def _announce(forecast: Forecast) -> None:
    tell("train", forecast_line(forecast))


def _help(run: Run) -> Run:
    """Train with the first process, which alone reads rows and writes the run; return its run."""
    from tailora.model import load
    from tailora.model.fit import fit
    from tailora.tasks import make_task

    recipe = run.recipe
    check_launch(recipe.train)
    with joined() as group:
        job: _Job | None = group.tell(None)
        if job is None:
            return run
        _refuse_other_job(job, recipe)
        machine.keep_freed_memory()
        machine.keep_few_kernels()
        task = make_task(recipe, job.labels)
        model = task.load(recipe.model)
        if load.base_fingerprint(model) != job.base:
            raise ModelError(f"model.base: {recipe.model.base} is another model here than in the first process.")
        model, _ = _adapted(model, task, recipe, job.path, job.train)
        if recipe.train.shard:
            shard(model, group)
        settings = recipe.train.model_copy(update={"lr": job.lr})
        fit(model, job.train, job.val, task.loss, settings, Stage(run.folder, writes=False), job.ids)
    return run


def _trained_by(recipe: Recipe) -> dict[str, Any]:
    """Return the values that all processes must share; data and bases may lie elsewhere."""
    return {
        key: value
        for key, value in recipe.keys().items()
        if key.startswith(("lora.", "train.", "model.dtype", "model.quantize"))
    }


def _refuse_other_job(job: _Job, recipe: Recipe) -> None:
    remedy = "Start all processes with the same recipe."
    require_same(job.keys, _trained_by(recipe), "the first process was started with another recipe", remedy)


def _length(sample: Sample) -> files.Row:
    answer = sample.targets if sample.label is None else 0  # a label is no token
    return {"prompt": len(sample.tokens) - answer, "answer": answer}


def _save_adapter(model: Any, tokenizer: Any, stage: Stage) -> None:
    from safetensors import SafetensorError

    from tailora.model.lora import save_adapter

    folder = stage.folder / "adapter"
    try:
        save_adapter(model, folder)
    except SafetensorError as error:
        raise RunError(f"{folder}: the adapter cannot be saved: {error}. What was saved before is whole.") from error
    tokenizer.save_pretrained(folder)
    labels = {"labels": stage.facts["labels"]} if "labels" in stage.facts else {}
    files.write_json(folder / "tailora.json", stage.facts["fingerprints"] | labels)


def _name_base(config: Path, base: str) -> None:
    """Write what the recipe calls the base, where PEFT wrote the folder that it was loaded from on this machine."""
    if config.is_file():
        files.write_json(config, files.read_json(config) | {"base_model_name_or_path": base})


def _keep_prefix(model: Any, samples: list[Sample], stage: Stage) -> None:
    from tailora.model.prefix import keep_prefix

    kept = keep_prefix(model, samples, stage.folder)
    stage.facts["prefix"] = kept._asdict()
    stage.say(kept.line())


def _with_rate(model: Any, samples: list[Sample], loss: Any, settings: TrainSettings, stage: Stage) -> TrainSettings:
    """Return `settings` with a number as rate; one that is chosen by a test is chosen once, also when interrupted."""
    from tailora.model.rates import RangeTest, find_rate

    if settings.lr != "auto":
        return settings
    record = stage.folder / "rates.json"
    found = files.read_json(record) if record.exists() else {}
    if found.get("made_from") == stage.made_from:
        test = RangeTest(**found["test"])
    else:
        test = find_rate(model, samples, loss, settings)
        files.write_sealed(record, {"made_from": stage.made_from, "test": test._asdict()})
    stage.say(test.line())
    return settings.model_copy(update={"lr": test.chosen})
