"""What the tasks share: settings that are checked, run folders that tell their task, the training itself."""

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from minivid.callbacks import CSVLogger, ModelCheckpoint
from minivid.models import Sequential, load_model
from minivid.runs import about_this_machine, read_json, write_json
from minivid.video import ClipSequence, augmentation, clips_from_directory

AUGMENTATIONS = {
    "flip": augmentation.random_flip,
    "shift": augmentation.random_shift,
    "brightness": augmentation.random_brightness,
}


def check_rules(settings: Any, rules: Sequence[tuple[str, bool, str]]) -> None:
    """Raise ValueError for the first rule (name of a setting, whether it holds, what is wanted) that does not hold."""
    for name, holds, wanted in rules:
        if not holds:
            raise ValueError(f"{name} must be {wanted}, got {getattr(settings, name)!r}")


def open_clips(directory: str | os.PathLike, settings: Any, subset: str | None, **more: Any) -> ClipSequence:
    """Return the clips of a folder, or one side of their split, as settings and more options of the reader ask for."""
    training = subset == "training"
    return clips_from_directory(
        directory,
        frames=settings.frames,
        target_size=(settings.height, settings.width),
        batch_size=settings.batch_size,
        color_mode=settings.color,
        shuffle=training,
        seed=settings.seed,
        validation_split=settings.validation_split if subset and not settings.test_groups else None,
        validation_groups=settings.test_groups if subset and settings.test_groups else None,
        subset=subset,
        groups=settings.groups,
        augment=augmentation_of(settings.augment) if training else None,
        on_error=settings.on_error,
        **more,
    )


def augmentation_of(names: Sequence[str]) -> augmentation.Augmentation | None:
    """Return the augmentations of these names as one, or None for none."""
    return augmentation.compose(*(AUGMENTATIONS[name] for name in names)) if names else None


def write_config(out: Path, settings: Any, class_names: Sequence[str] = ()) -> None:
    """Write what a run needs to be used again: its task, which the module of its settings names, and its settings."""
    task = type(settings).__module__.rpartition(".")[2]
    write_json(out / "config.json", {"task": task, "settings": asdict(settings), "class_names": list(class_names)})


def task_of(run: str | os.PathLike) -> str:
    """Return which task a run folder is of."""
    return read_json(Path(run) / "config.json").get("task", "classify")


def load_run(run: str | os.PathLike, kind: type, device: str = "cpu") -> tuple[Sequential, Any, list[str]]:
    """Return the model, on a device, the settings of this kind and the class names of a run folder."""
    config = read_json(Path(run) / "config.json")
    known = {field.name for field in fields(kind)}
    try:
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in config["settings"].items()}
        settings = kind(**{name: value for name, value in given.items() if name in known})
        class_names = list(config["class_names"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{Path(run) / 'config.json'} is damaged: {error}") from None
    return load_model(Path(run) / "model.safetensors").to(device), settings, class_names


def fit(model: Sequential, clips, held_out, epochs: int, out: Path):
    """Train and keep the model of each complete epoch and the history on disk."""
    checkpoint = out / "model.safetensors"
    try:
        return model.fit(
            clips,
            epochs=epochs,
            validation_data=held_out,
            callbacks=[ModelCheckpoint(checkpoint), CSVLogger(out / "history.csv")],
        )
    except KeyboardInterrupt:
        kept = f"{checkpoint} holds the last complete epoch" if checkpoint.exists() else "no epoch was complete"
        raise KeyboardInterrupt(f"interrupted; {kept}") from None


def account(seed: int, skipped: list, device: str) -> dict:
    """Return what every metrics.json tells of its run: skipped files with reasons, seed, device, machine."""
    skipped = [[str(path), str(reason)] for path, reason in skipped]
    return {"skipped": skipped, "seed": seed, "device": device} | about_this_machine()


def free_path(folder: Path, stem: str, taken: set[Path], suffix: str = ".mp4") -> Path:
    """Return a path for a copy of a clip: never the clip itself, and another one for clips of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{stem}{suffix}", 2
    while path in taken:
        path, number = folder / f"{stem}_{number}{suffix}", number + 1
    taken.add(path)
    return path
