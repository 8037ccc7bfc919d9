"""The recipe: everything a user may ask for, each default written once.

A recipe is a TOML file. Unknown keys, wrong types and impossible values are reported all at once, with what to
write instead. The text under each key is its documentation, here and in `tailora new`.
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tailora.errors import RecipeError, did_you_mean
from tailora.files import checked_name, checked_text, is_file

# What the field's other tools (TRL, PEFT, LLaMA-Factory, Axolotl, Unsloth) call it → our key, or what to do instead.
FOREIGN_KEYS = {
    **dict.fromkeys(("model_name_or_path", "model_name", "base_model", "base_model_name_or_path"), "model.base"),
    **dict.fromkeys(("torch_dtype", "bf16", "fp16", "tf32"), "model.dtype"),
    **dict.fromkeys(("load_in_4bit", "quantization_bit", "bnb_4bit_quant_type"), "model.quantize"),
    **dict.fromkeys(("max_seq_length", "max_seq_len", "max_length", "cutoff_len", "sequence_len"), "model.max_length"),
    **dict.fromkeys(("dataset", "datasets", "dataset_name", "dataset_path", "train_file", "data_path"), "data.source"),
    **dict.fromkeys(("val_size", "val_set_size", "validation_split", "eval_dataset", "validation_file"), "data.val"),
    **dict.fromkeys(("test_size", "test_file", "test_datasets"), "data.test"),
    **dict.fromkeys(("max_samples", "max_train_samples"), "data.limit"),
    **dict.fromkeys(("r", "lora_r", "lora_rank"), "lora.rank"),
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    **dict.fromkeys(("target_modules", "lora_target", "lora_target_modules", "lora_target_linear"), "lora.targets"),
    **dict.fromkeys(("use_rslora", "use_dora", "peft_use_dora", "peft_use_rslora", "finetuning_type"), "lora.method"),
    **dict.fromkeys(("init_lora_weights", "pissa_init"), "lora.init"),
    **dict.fromkeys(("loraplus_lr_ratio", "lora_plus_lr_ratio", "plus"), "lora.lora_plus_ratio"),
    **dict.fromkeys(("layers_to_transform", "top_layers"), "lora.last_layers"),
    "micro_tokens": "train.micro_batch_tokens",
    "path": "train.kernels",
    "unseen": "data.holdout",
    "learning_rate": "train.lr",
    **dict.fromkeys(("num_train_epochs", "num_epochs"), "train.epochs"),
    **dict.fromkeys(
        (
            "per_device_train_batch_size", "train_batch_size", "gradient_accumulation_steps", "micro_batch_size",
            "effective_batch_size",
        ),
        "train.batch_size",
    ),
    **dict.fromkeys(("warmup_ratio", "warmup_steps", "warm_up"), "train.warmup"),
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler"), "train.schedule"),
    **dict.fromkeys(("clip", "gradient_clipping"), "train.max_grad_norm"),
    **dict.fromkeys(("recompute", "use_gradient_checkpointing"), "train.gradient_checkpointing"),
    **dict.fromkeys(("report_to", "wandb_project"), "train.trackers"),
    **dict.fromkeys(("early_stopping_patience",), "train.patience"),
    **dict.fromkeys(("save_steps", "save_strategy"), "train.save_minutes"),
    **dict.fromkeys(("label_smoothing_factor",), "train.label_smoothing"),
    **dict.fromkeys(("random_state", "data_seed"), "train.seed"),
    **dict.fromkeys(("per_device_eval_batch_size", "eval_batch_size"), "evaluate.batch_size"),
    **dict.fromkeys(("max_tokens", "max_completion_length"), "evaluate.max_new_tokens"),
}  # fmt: skip

# Keys of task = "classify" alone, with the values that ask for nothing.
_OF_LABELS: dict[str, Any] = {
    "data.label": None,
    "data.labels": None,
    "train.class_weights": None,
    "train.label_smoothing": 0.0,
}


Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Section(BaseModel):
    """A part of the recipe: strict, frozen, its keys documented by the text below them."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*")
    @classmethod
    def _can_be_written_down(cls, value: Any) -> Any:
        return checked_text(value)


class Data(Section):
    """Where the rows come from and how they are split."""

    source: str | list[str] | dict[str, str]
    """A file, folder or glob of JSON, JSONL, CSV or Parquet, also gzipped, the name of bundled data ("python_qa"), or a
    hub id. "rows.jsonl#500" is a sample of 500 rows, which depends on their contents alone. Several sources are a
    list, or a table that names their domains: { law = "law.jsonl", medicine = "medicine.jsonl" }."""
    weights: dict[str, float] = Field(default={})
    """How often an epoch sees the training rows of a domain: { law = 2, medicine = 0.5 } shows each row of law twice
    and every second row of medicine; 1 where a domain is not named."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many rows of all sources together, chosen by their contents alone; all when left out."""
    strict: bool = False
    """Refuse data of which anything would only be counted and shown: dropped rows, notices and findings."""
    prompt: str | None = None
    """Column with the question; detected when left out."""
    input: str | None = None
    """Column with context that follows the question, "" for none; detected when left out."""
    answer: str | None = None
    """Column with the answer; detected when left out."""
    label: str | None = None
    """Column with the label, for task = "classify"; detected when left out."""
    labels: list[str] | None = None
    """Names of the labels in their order, for task = "classify". Where a file writes numbers, they count from 0 or 1,
    whichever fits all names; spellings that differ in case or spaces alone are read as one. Found when left out."""
    group: str | None = None
    """Column whose equal values never straddle splits, such as a patient or a source document."""
    holdout: str | None = None
    """Column of which some values are kept for the test split alone and scored apart, such as a topic; "family" when
    left out and the source has it, "" for none."""
    val: float | str = 0.05
    """Share of rows for validation, or a file of its own."""
    test: float | str = 0.1
    """Share of rows for the test split, also of `holdout` values kept for it; or a file of its own."""
    seed: Seed = 0
    """Seed of the split."""

    def sources(self) -> list[tuple[str | None, str]]:
        """Return each source with the domain that it names; of a list, file names are the domains."""
        if isinstance(self.source, str):
            return [(None, self.source)]
        if isinstance(self.source, dict):
            return list(self.source.items())
        stems = [Path(source.partition("#")[0]).name.partition(".")[0] for source in self.source]
        return [
            (stem if stems.count(stem) == 1 else source, source)
            for stem, source in zip(stems, self.source, strict=True)
        ]

    def shown(self) -> str:
        """Return the names of all sources as one text."""
        return ", ".join(source for _, source in self.sources())

    @field_validator("source", mode="before")
    @classmethod
    def _sources_are_named(cls, source: Any) -> Any:
        names = list(source.values()) if isinstance(source, dict) else source if isinstance(source, list) else [source]
        if names and all(isinstance(name, str) for name in names):
            return source
        raise ValueError('name a source, a list of sources, or a table such as { law = "law.jsonl" }')

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: list[str] | None) -> list[str] | None:
        alike = {" ".join(label.lower().split()) for label in labels or []}
        if labels is not None and (len(alike) < 2 or len(alike) < len(labels) or "" in alike):
            raise ValueError("name two labels or more, each once, in their order")
        return labels

    @field_validator("weights")
    @classmethod
    def _weights_are_positive(cls, weights: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in weights.values()):
            raise ValueError("weights are above 0; leave out a source that should not be used")
        return weights

    @field_validator("val", "test", mode="before")
    @classmethod
    def _split_is_a_share_or_a_file(cls, value: Any) -> Any:
        is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 0.5
        if is_share or (isinstance(value, str) and value):
            return value
        raise ValueError("give a share above 0 and below 0.5, or the name of a file")


class Model(Section):
    """The base model."""

    base: str = "tailora-tiny"
    """A packaged model (`tailora models` lists them), "tailora-tiny" (bundled), a .gguf file, a local folder, or a hub
    id."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights; "auto" is bfloat16 where the machine has it natively. Adapters are float32."""
    quantize: Literal["nf4"] | None = None
    """Hold the frozen linear layers in 4 bits while training and answering ("nf4": QLoRA, needs the extra `qlora`); as
    they are when left out. The base that tuned is compared with is then the 4-bit one."""
    max_length: int = Field(default=1024, ge=16)
    """Longest prompt and answer together, in tokens; lowered to the model's own limit. Longer rows are left out."""
    trust_remote_code: bool = False
    """Let a hub model run its own Python code on this machine. Leave it off unless you have read that code."""


class Lora(Section):
    """What is trained, and how: an adapter, or for comparison the whole model."""

    method: Literal["lora", "rslora", "dora", "adalora", "full"] = "lora"
    """"lora"; "rslora" scales by alpha / √rank; "dora" also trains the length of each row of a weight; "adalora" shares
    the ranks out among the layers; "full" trains all weights and no adapter, as a reference."""
    init: Literal["zero", "pissa", "olora"] = "zero"
    """First weights: "zero" changes nothing yet; "pissa" and "olora" begin with a part of the base weights (largest
    singular values, or a QR factor). What is saved fits the untouched base, at twice the rank."""
    rank: int = Field(default=16, ge=1)
    """Rank of the update of each weight; for "adalora" the mean over the layers in the end."""
    alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by alpha / rank. 32 with a tenfold full-tuning rate is the finding of "LoRA Without
    Regret" (Schulman et al., 2025)."""
    lora_plus_ratio: float | None = Field(default=None, ge=1)
    """Train B at this many times the rate of A (LoRA+ proposes 16); at the same rate when left out."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of each adapter while training."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Modules that get an adapter: "all-linear" (all but the output head) or a list of module names."""
    last_layers: int | None = Field(default=None, ge=1)
    """Adapt only this many of the last layers. What the layers below give is then computed once a row and kept, where
    the model allows it; all layers when left out."""

    @field_validator("targets", mode="before")
    @classmethod
    def _targets_are_named(cls, targets: Any) -> Any:
        # Said here, since pydantic reports each side of the union as a problem of its own.
        names = targets if isinstance(targets, list) else []
        if targets == "all-linear" or (names and all(isinstance(name, str) for name in names)):
            return targets
        raise ValueError('use "all-linear" or a list of module names, such as ["q_proj", "v_proj"]')


_METHODS = {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "adalora": "AdaLoRA", "full": "full fine-tuning"}


def method_title(lora: Lora) -> str:
    """Return the name of what is trained, as it stands in a model card: "LoRA (rank 16, alpha 32)"."""
    if lora.method == "full":
        return _METHODS[lora.method]
    begun = "" if lora.init == "zero" else f", begun as {lora.init} and saved at twice the rank"
    return f"{_METHODS[lora.method]} (rank {lora.rank}, alpha {lora.alpha:g}{begun})"


class Train(Section):
    """The training loop."""

    epochs: int = Field(default=3, ge=1)
    """Passes over the training split."""
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = 2e-4
    """Highest learning rate, or "auto": chosen by a short range test before training, not tuned."""
    batch_size: int = Field(default=16, ge=1)
    """Rows in one optimizer step."""
    micro_batch_tokens: int = Field(default=1024, ge=1)
    """Most tokens, padding included, in one forward pass. Changes memory and speed, not the result."""
    kernels: Literal["auto", "fast", "plain"] = "auto"
    """How losses are computed: "fast" packs rows without padding and fuses the LoRA layers, "plain" is transformers and
    PEFT as they are; "auto" is fast where both agree on a few rows. Changes memory and speed, not the result."""
    gradient_checkpointing: bool = False
    """Compute the activations of each layer again on the way back instead of keeping them. Changes memory (less) and
    speed (a quarter less), not the result."""
    memory_mb: int | None = Field(default=None, ge=1)
    """Most memory that training on a processor may hold, in MiB; when it would need more, it is refused at its start.
    What the machine and its containers have left when left out. On a GPU passes are made smaller instead."""
    processes: int | None = Field(default=None, ge=1)
    """How many processes train together, each on its own device; another number than were started is an error. As many
    as `torchrun` started when left out."""
    shard: bool = False
    """Split the frozen base over the processes instead of keeping it whole in each. Changes memory (less) and speed
    (less), not the result."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises linearly, before `schedule` takes over."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """How the rate goes on after warm-up: half a cosine or a line down to zero, no change, or no change until a last
    fifth of falling ("wsd": warm-up, stable, decay)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Largest gradient norm; longer gradients are scaled down to it."""
    seed: Seed = 0
    """Seed of the adapter's first weights, the order of rows and dropout."""
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """How much the rows of a label count in the loss, for task = "classify": { Sports = 2 }, or "balanced" for weights
    by which all labels count alike (rows / labels / rows of the label); 1 where left out."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that is spread evenly over all labels, for task = "classify"."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many validations in a row (one an epoch) without a lower loss; never when left out."""
    save_minutes: float = Field(default=5.0, ge=0)
    """Minutes between checkpoints, 0 for one after every step; there is always one after each validation and on a stop
    (Ctrl-C, SIGTERM). An interrupted training goes on from the newest one."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = []
    """Where the rows of `log.jsonl` are sent besides: "tensorboard", "wandb", "mlflow", "trackio"."""

    @field_validator("lr", mode="before")
    @classmethod
    def _rate_is_a_number_or_found(cls, rate: Any) -> Any:
        # Said here, since pydantic reports each side of the union as a problem of its own.
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if rate == "auto" or (number and 0 < rate < float("inf")):
            return rate
        raise ValueError('give a number above 0, such as 2e-4, or "auto"')

    @field_validator("class_weights", mode="before")
    @classmethod
    def _class_weights_are_positive(cls, weights: Any) -> Any:
        # Said here, since pydantic reports each side of the union as a problem of its own.
        values = list(weights.values()) if isinstance(weights, dict) else []
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if weights is None or weights == "balanced" or (values and len(numbers) == len(values) and min(numbers) > 0):
            return weights
        raise ValueError('use "balanced" or a table of weights above 0, such as { Sports = 2 }')


class Evaluate(Section):
    """How base and tuned model are compared."""

    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer to generate, in tokens."""
    batch_size: int = Field(default=32, ge=1)
    """Rows answered together."""
    rows: int | None = Field(default=None, ge=2)
    """Use only this many test rows, chosen by the split's seed; all when left out."""
    general_passages: int | None = Field(default=None, ge=0)
    """Read only this many passages of each kind of the bundled general text, by which forgetting is measured; 0 for
    none, which leaves forgetting unknown; all when left out."""
    test_seconds: float = Field(default=5.0, gt=0)
    """Time limit for running one answer against its tests."""
    test_memory_mb: int = Field(default=512, ge=64)
    """Memory limit for running one answer against its tests, in MiB."""
    unsafe_exec: bool = False
    """Run generated programs with limits only where no sandbox holds: they then reach your files and the network."""
    primary: str | None = None
    """Metric that gives the verdict, such as "chrF"; name it before you have seen any result. When left out, pass@1
    where the rows bring tests, else bits per byte."""
    metrics: list[str] = []
    """Metrics of your own as "module:function": a function of an answer and its row, which returns a number, a truth
    value, or None where it does not apply."""
    samples: int = Field(default=0, ge=0)
    """Answers to draw at random for each row besides the likeliest one, for pass@k of up to so many; 0 for none."""
    temperature: float = Field(default=0.8, gt=0)
    """Temperature of drawn answers."""
    seed: Seed = 0
    """Seed of drawn answers."""

    @field_validator("metrics")
    @classmethod
    def _metrics_are_functions(cls, metrics: list[str]) -> list[str]:
        if len(set(metrics)) < len(metrics):
            raise ValueError("name each metric once")
        if all(re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) for name in metrics):
            return metrics
        raise ValueError('name each metric as "module:function"')

    prompts: str | list[str] = []
    """Your own prompts, answered by base and tuned side by side: a list, a text file with a prompt a line, or rows with
    `prompt` and, where something must not be lost, the `answer` that must stand in what is said, or `tests`."""

    @field_validator("prompts", mode="before")
    @classmethod
    def _prompts_are_text(cls, prompts: Any) -> Any:
        listed = prompts if isinstance(prompts, list) else [prompts]
        if all(isinstance(prompt, str) and prompt.strip() for prompt in listed):
            return prompts
        raise ValueError('name a file, such as "prompts.txt", or write a list of prompts')


class Recipe(Section):
    """What you want: a task, its data, a base model, and how to train and compare."""

    name: str
    """Name of the run; its folder is `runs/<name>`."""
    task: Literal["generate", "classify"] = "generate"
    """What the model learns: to "generate" answers (causal language model), or to "classify" texts by their labels
    (encoder or causal language model with a new head)."""
    data: Data
    model: Model = Model()
    lora: Lora = Lora()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    @field_validator("name")
    @classmethod
    def _name_is_a_path(cls, name: str) -> str:
        return checked_name(name, "name")

    @model_validator(mode="after")
    def _splits_leave_rows_to_train_on(self) -> "Recipe":
        if sum(share for share in (self.data.val, self.data.test) if isinstance(share, float)) > 0.6:
            raise ValueError("data.val and data.test take more than 60 % of the rows; make one of them smaller")
        return self

    @model_validator(mode="after")
    def _method_takes_its_keys(self) -> "Recipe":
        lora, full, four_bit = self.lora, self.lora.method == "full", self.model.quantize is not None
        starts_in_base = lora.init != "zero"
        checks = {
            f'lora.init = "{lora.init}" goes with the methods "lora" and "rslora" only': starts_in_base
            and lora.method not in ("lora", "rslora"),
            f'lora.init = "{lora.init}" cannot change a 4-bit base; leave model.quantize out': starts_in_base
            and four_bit,
            'lora.lora_plus_ratio goes with the methods "lora", "rslora" and "dora" only': lora.lora_plus_ratio
            is not None
            and lora.method in ("adalora", "full"),
            'lora.method = "full" trains all layers; leave lora.last_layers out': full and lora.last_layers is not None,
            'lora.method = "full" trains all weights; leave lora.targets out': full and lora.targets != "all-linear",
            'lora.method = "full" cannot train a 4-bit base; leave model.quantize out': full and four_bit,
            'train.shard splits frozen layers in floating point: leave lora.method = "full", model.quantize and '
            "lora.last_layers out": self.train.shard and (full or four_bit or lora.last_layers is not None),
        }
        found = [problem for problem, is_wrong in checks.items() if is_wrong]
        if found:
            raise ValueError("; ".join(found))
        return self

    @model_validator(mode="after")
    def _keys_belong_to_the_task(self) -> "Recipe":
        used = [key for key, off in _OF_LABELS.items() if self.keys()[key] != off]
        if self.task == "generate" and used:
            raise ValueError(f'{" and ".join(used)} is for task = "classify"; the task is "generate"')
        later = {
            'lora.method = "full"': self.lora.method == "full",
            "model.quantize": self.model.quantize is not None,
            "evaluate.prompts": bool(self.evaluate.prompts),
            "evaluate.metrics": bool(self.evaluate.metrics),
            "evaluate.samples": self.evaluate.samples > 0,
            "evaluate.general_passages": self.evaluate.general_passages is not None,
        }
        asked = [key for key, is_asked in later.items() if is_asked]
        if self.task == "classify" and asked:
            raise ValueError(f'{" and ".join(asked)} does not work with task = "classify" yet; leave it out')
        if self.data.label is not None and self.data.answer is not None:
            raise ValueError("data.label and data.answer name one column; leave data.answer out")
        return self

    def keys(self) -> dict[str, Any]:
        """Return every key with its resolved value, flat: {"train.lr": 0.0002, …}."""
        flat: dict[str, Any] = {}
        for name, value in self.model_dump(mode="json").items():
            flat |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        return flat


def built_in_recipes() -> dict[str, Path]:
    """Return the recipes that travel with the package, by name."""
    folder = Path(str(resources.files("tailora") / "assets" / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def locate_recipe(name: str) -> Path:
    """Return the file of a recipe given by path or by built-in name; raise RecipeError with the nearest names."""
    path, built_in = Path(name), built_in_recipes()
    if is_file(path):
        return path
    if name in built_in:
        return built_in[name]
    near = [str(p) for p in Path().glob("*.toml")] + list(built_in)
    raise RecipeError(
        f'there is no recipe "{name}"{did_you_mean(name, near)}; give a .toml file or one of: {", ".join(built_in)}. '
        "`tailora new my-recipe.toml` writes one to start from."
    )


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by path or built-in name and apply `key=value` overrides.

    Raises:
        RecipeError: with one problem per wrong key, value or override.
    """
    path = locate_recipe(name)
    return parse_recipe(_read_toml(path), str(path), overrides or [])


def resolved_lines(name: str, overrides: list[str] | None = None) -> list[str]:
    """Return every key with its value and where that comes from: the recipe's file, the command line, or a default."""
    recipe, path = load_recipe(name, overrides), locate_recipe(name)
    in_file, changed = _flat(_read_toml(path)), {override.partition("=")[0].strip() for override in overrides or []}
    lines: list[str] = []
    for key, value in recipe.keys().items():
        section, _, short = key.rpartition(".")
        if section and f"[{section}]" not in lines:
            lines += ["", f"[{section}]"]
        origin = "command line" if key in changed else path.name if key in in_file else "default"
        shown = toml_line(short, value) if value is not None else f"# {short} is not set"
        lines.append(f"{shown:<40} # {origin}")
    return lines


def _flat(values: dict[str, Any]) -> set[str]:
    sections = {name: value for name, value in values.items() if isinstance(value, dict)}
    return (values.keys() - sections) | {f"{name}.{key}" for name, keys in sections.items() for key in keys}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:  # no TOML, no UTF-8, nested too deep, a number too long
        raise RecipeError(f"{path}: not a TOML file: {error}.") from None


def parse_recipe(values: dict[str, Any], where: str = "recipe", overrides: Sequence[str] = ()) -> Recipe:
    """Check `values` with `key=value` overrides; raise RecipeError listing every problem at once."""
    for override in overrides:
        _apply(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError([_explain(where, problem) for problem in error.errors()]) from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not separator or not all([*sections, last]):
        raise RecipeError(f'"{override}" is not an override; write key=value, such as train.lr=3e-4.')
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise RecipeError(f'"{override}": {section} is a value, not a section of the recipe.')
    values[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:
        raise RecipeError(f'"{text[:40]}…" is no value: {error}.') from None
    return parsed["value"] if len(parsed) == 1 else text


def _explain(where: str, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(problem["loc"])
        meant = _meant(str(problem["loc"][-1]), known)
        return f"{where}: unknown key {key}{meant}; known here: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{where}: {key} is missing; {_documentation(problem['loc'])}"
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    got = f" (got {problem['input']!r})" if key and not isinstance(problem["input"], dict) else ""
    return f"{where}: {key + ': ' if key else ''}{message}{got}."


def _meant(word: str, known: list[str]) -> str:
    """Suggest the key that another tool calls so, one of this very name in another section, or the nearest one."""
    if word in FOREIGN_KEYS and FOREIGN_KEYS[word].rpartition(".")[2] != word:
        return f' (here it is called "{FOREIGN_KEYS[word]}")'
    sections = {name: getattr(field.annotation, "model_fields", {}) for name, field in Recipe.model_fields.items()}
    elsewhere = [f'"{name}.{word}"' for name, keys in sections.items() if word in keys]
    return f" (did you mean {' or '.join(elsewhere)}?)" if elsewhere else did_you_mean(word, known)


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    section: Any = Recipe
    for part in location[:-1]:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def _documentation(location: tuple[str | int, ...]) -> str:
    section: Any = Recipe
    for part in location[:-1]:
        section = section.model_fields[part].annotation
    field = section.model_fields[location[-1]]
    return str(field.description or field.annotation.__doc__)


def describe_recipe(recipe: Recipe, seen: Mapping[str, str] | None = None, unset: Collection[str] = ()) -> str:
    """Return `recipe` as commented TOML: each key with its documentation beside it.

    What was `seen` in the data stands above the key that it speaks for; keys that are `unset` are commented out.
    """
    seen = seen or {}
    lines: list[str] = []
    for name, field in Recipe.model_fields.items():
        value = getattr(recipe, name)
        if isinstance(value, Section):
            lines += ["", f"# {value.__doc__}", f"[{name}]"]
            for key, inner in type(value).model_fields.items():
                remark = seen.get(f"{name}.{key}")
                lines += [f"# Seen: {' '.join(remark.split())}"] if remark else []
                (line,) = _key_lines(key, getattr(value, key), inner.description)
                lines.append(f"# {line}" if f"{name}.{key}" in unset else line)
        else:
            lines += _key_lines(name, value, field.description)
    return "\n".join(lines).strip() + "\n"


def _key_lines(key: str, value: Any, description: str | None) -> list[str]:
    text = " ".join((description or "").split())
    shown = f"# {key} =" if value is None else toml_line(key, value)
    return [f"{shown:<32} # {text}"]


def toml_line(key: str, value: Any) -> str:
    """Return `key = value` as TOML."""
    return f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, str):
        # A JSON string is a TOML string, but for DEL, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
