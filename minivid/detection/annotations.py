"""Where the objects of a clip are, in files: COCO's JSON, and the text of the MOTChallenge.

A folder of clips has one annotation beside each clip:

- ``CLIP.json``, as COCO: ``images`` are the frames, each with a ``frame_index`` from 0; a ``bbox`` is x, y, width,
  height in pixels from 0; ``track_id`` and ``visibility`` may be there.
- ``CLIP.txt`` or ``CLIP/gt/gt.txt``, as MOTChallenge: a line per box; frames, ids and pixels are counted from 1. The
  names of the classes are in ``classes.txt``, one per line.

docs/detection_metrics.md shows both. Everything is checked, and errors name the file, the frame and the box.
"""

import configparser
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivid.detection.average_precision import Truth
from minivid.files import replacing

__all__ = ["ClipAnnotation", "read_annotations", "write_coco"]

CLASSES_FILE = "classes.txt"
MOT_COLUMNS = "frame, id, left, top, width, height, counts (1 or 0), class, visibility"
ROUNDING = 1.0  # pixels by which a box of a COCO file may stick out of the frame, and is cut
MOT_STICKS_OUT = math.inf  # MOTChallenge annotates the whole object, also where it leaves the frame


class ClipAnnotation(NamedTuple):
    """The objects of one clip.

    Attributes
    ----------
    path : pathlib.Path
        The clip: a video file, or a folder of images.
    size : (H, W)
        Of its frames, in pixels.
    frames : list of Truth
        One for each frame of the clip.
    tracks : list of (M,) int arrays, optional
        Number of each object, the same in all frames; None if the file has none.
    visibility : list of (M,) float32 arrays
        From 0, hidden, to 1, what a file that does not say gives.
    """

    path: Path
    size: tuple[int, int]
    frames: list[Truth]
    tracks: list[np.ndarray] | None
    visibility: list[np.ndarray]


class _Box(NamedTuple):
    """One box of a file, not yet checked."""

    where: str  # in the file: "annotation 17", "line 4"
    frame: int
    xywh: tuple[float, float, float, float]  # x and y from 0
    k: int  # class, from 0
    ignored: bool
    track: int | None
    visibility: float


class _Clip(NamedTuple):
    """What a clip's file says: its path, and the number and size of its frames."""

    path: Path
    count: int
    size: tuple[int, int]


# --- reading ------------------------------------------------------------------------------------------------------


def read_annotations(directory: str | Path) -> tuple[list[str], list[ClipAnnotation]]:
    """Read the annotations of all clips of a folder.

    Parameters
    ----------
    directory : path
        Holds clips and, beside each, ``CLIP.json``, ``CLIP.txt`` or ``CLIP/gt/gt.txt``.

    Returns
    -------
    class_names : list of str
        From ``classes.txt``, or else the ``categories`` of the first JSON file in the order of their ids.
    annotations : list of ClipAnnotation
        In natural order of the clips' names.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If a clip has no annotation or an annotation no clip, or for damaged files, frames that are missing or too
        many, boxes outside the frame or without area, unknown classes, and ids that a frame has twice. The message
        names the file, the frame and the box.

    Notes
    -----
    Every clip is decoded once, to count its frames; a MOTChallenge folder with ``seqinfo.ini`` is believed. Boxes are
    cut at the edge of the frame: in COCO files those that stick out by up to a pixel, which is rounding; in
    MOTChallenge files all that are not wholly outside.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import write_moving_objects
    >>> folder = write_moving_objects(tempfile.mkdtemp() + "/objects", clips=2, frames=5, size=(32, 32), seed=0)
    >>> class_names, annotations = read_annotations(folder)
    >>> class_names, [annotation.path.name for annotation in annotations], len(annotations[0].frames)
    (['disc', 'square', 'triangle'], ['objects_000.mp4', 'objects_001.mp4'], 5)
    """
    from minivid.video.reading import natural_key  # not above: minivid.video imports this module

    directory = Path(directory)
    if not directory.exists():
        raise FileNotFoundError(f"there is no folder {directory}")
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; expected a folder of clips and their annotations")
    files = sorted(
        _annotation_files(directory), key=lambda file: natural_key(str(file.relative_to(directory).with_suffix("")))
    )
    if not files:
        raise ValueError(f"{directory} holds no annotations: expected CLIP.json, CLIP.txt or CLIP/gt/gt.txt")
    class_names = _class_names(directory, files)
    clips = {_clip_of(file, directory): file for file in files}
    _check_all_annotated(directory, clips, len(files))
    readers = {".json": _read_coco, ".txt": _read_mot}
    return class_names, [readers[file.suffix.lower()](file, clip, class_names) for clip, file in clips.items()]


def _annotation_files(directory: Path) -> list[Path]:
    entries = [entry for entry in directory.iterdir() if not entry.name.startswith(".")]
    files = [entry for entry in entries if entry.suffix.lower() in (".json", ".txt") and entry.name != CLASSES_FILE]
    return files + [entry / "gt" / "gt.txt" for entry in entries if (entry / "gt" / "gt.txt").is_file()]


def _clip_of(file: Path, directory: Path) -> Path:
    """Return the clip beside an annotation: CLIP.mp4 or another video, a folder CLIP of images, or CLIP/img1."""
    from minivid.video.folders import is_video

    name = file.parent.parent.name if file.name == "gt.txt" and file.parent.name == "gt" else file.stem
    beside = [entry for entry in directory.iterdir() if name == (entry.name if entry.is_dir() else entry.stem)]
    clips = [entry for entry in [*beside, directory / name / "img1"] if entry.exists() and is_video(entry)]
    if len(clips) != 1:
        found = f"{len(clips)} clips: {', '.join(sorted(clip.name for clip in clips))}" if clips else "no clip"
        raise ValueError(f"{file} must have one clip named {name}.mp4 or the like beside it, but there is {found}")
    return clips[0]


def _check_all_annotated(directory: Path, clips: dict[Path, Path], files: int) -> None:
    from minivid.video.folders import is_video

    if len(clips) < files:
        raise ValueError(f"{directory} holds clips with two annotations: {files} files for {len(clips)} clips")
    bare = sorted(entry.name for entry in directory.iterdir() if is_video(entry) and entry not in clips)
    if bare:
        raise ValueError(f"{directory} holds clips without an annotation, {', '.join(bare)}: annotate or remove them")


def _class_names(directory: Path, files: Sequence[Path]) -> list[str]:
    listed = directory / CLASSES_FILE
    if listed.is_file():
        names = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
        source = listed
    else:
        source = next((file for file in files if file.suffix.lower() == ".json"), None)
        if source is None:
            raise ValueError(f"{directory} needs {CLASSES_FILE} with one class name per line: MOTChallenge has numbers")
        names = [*_categories(_load_json(source), source).values()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{source} must name classes, each once, got {names}")
    return names


def _measured(path: Path) -> _Clip:
    """Return how many frames really decode, and their size."""
    from minivid.video.reading import read_clip

    frames, height, width, _ = read_clip(path, None).shape
    return _Clip(path, frames, (height, width))


# --- COCO ---------------------------------------------------------------------------------------------------------


def _read_coco(file: Path, clip_path: Path, class_names: list[str]) -> ClipAnnotation:
    content = _load_json(file)
    clip = _measured(clip_path)
    frame_of = _frames_of_images(content, file, clip)
    class_of = {}
    for category, name in _categories(content, file).items():
        if name not in class_names:
            raise ValueError(f"{file}: unknown class {name!r}; the classes of this folder are {', '.join(class_names)}")
        class_of[category] = class_names.index(name)
    boxes = []
    for n, entry in enumerate(_entries(content, "annotations", file)):
        boxes.append(_coco_box(entry, f"annotation {entry.get('id', f'at place {n}')}", file, frame_of, class_of))
    return _assembled(file, clip, boxes, class_names, ROUNDING)


def _load_json(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged, or no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no COCO file: expected an object with images, annotations and categories")
    return content


def _entries(content: dict, key: str, file: Path) -> list[dict]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f'{file} is no COCO file: it needs "{key}", a list of objects')
    return entries


def _categories(content: dict, file: Path) -> dict[int, str]:
    """Return the names of the categories by id, in the order of the ids."""
    entries = _entries(content, "categories", file)
    names = {_whole(entry, "id", "a category", file): str(entry.get("name", "")) for entry in entries}
    if len(names) < len(entries):
        raise ValueError(f"{file}: two categories have the same id")
    return dict(sorted(names.items()))


def _frames_of_images(content: dict, file: Path, clip: _Clip) -> dict[int, int]:
    """Return the frame of every image by its id: its frame_index, or else the order of the file names."""
    from minivid.video.reading import natural_key

    images = _entries(content, "images", file)
    if not any("frame_index" in image for image in images):
        names = [str(image.get("file_name")) for image in images]
        if len(set(names)) < len(names):
            raise ValueError(f'{file}: its images need a "frame_index" from 0, or file names that all differ')
        images = sorted(images, key=lambda image: natural_key(str(image.get("file_name"))))
        images = [image | {"frame_index": t} for t, image in enumerate(images)]
    frame_of = {}
    for image in images:
        t = _whole(image, "frame_index", "an image", file)
        _check_image(image, t, file, clip)
        frame_of[_whole(image, "id", f"the image of frame {t}", file)] = t
    missing = sorted(set(range(clip.count)) - set(frame_of.values()))
    if missing:
        raise ValueError(
            f"{file}: {_listed(missing)} missing of {clip.path.name}: "
            '"images" must list every frame, those without objects too'
        )
    if len(images) > clip.count:
        raise ValueError(f'{file}: "images" has {len(images)} entries for {clip.count} frames: some are there twice')
    return frame_of


def _check_image(image: dict, t: int, file: Path, clip: _Clip) -> None:
    if not 0 <= t < clip.count:
        raise ValueError(f"{file}: frame {t} does not exist: {clip.path.name} has the frames 0 to {clip.count - 1}")
    size = image.get("height", clip.size[0]), image.get("width", clip.size[1])
    if size != clip.size:
        raise ValueError(
            f"{file}: frame {t} is annotated at {size[1]}x{size[0]} pixels (width x height), "
            f"but {clip.path.name} has {clip.size[1]}x{clip.size[0]}"
        )


def _coco_box(entry: dict, where: str, file: Path, frame_of: dict[int, int], class_of: dict[int, int]) -> _Box:
    image, category = (_whole(entry, key, where, file) for key in ("image_id", "category_id"))
    if image not in frame_of:
        raise ValueError(f'{file}: {where}: there is no image {image} in "images"')
    t = frame_of[image]
    if category not in class_of:
        raise ValueError(f"{file}: frame {t}, {where}: unknown class: category_id {category} is not in the categories")
    xywh = entry.get("bbox")
    if not isinstance(xywh, list) or len(xywh) != 4 or not all(_is_number(number) for number in xywh):
        raise ValueError(f"{file}: frame {t}, {where}: bbox must be [x, y, width, height], got {xywh!r}")
    track = None if entry.get("track_id") is None else _whole(entry, "track_id", where, file)
    visibility = entry.get("visibility", 1.0)
    if not _is_number(visibility):
        raise ValueError(f"{file}: frame {t}, {where}: visibility must be a number from 0 to 1, got {visibility!r}")
    ignored = bool(entry.get("iscrowd", 0)) or bool(entry.get("ignore", 0))
    return _Box(where, t, tuple(xywh), class_of[category], ignored, track, visibility)


def _whole(entry: dict, key: str, where: str, file: Path) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        got = f"got {value!r}" if key in entry else "it has none"
        raise ValueError(f'{file}: {where}: "{key}" must be a whole number, {got}')
    return value


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(frames: Sequence[int]) -> str:
    if len(frames) == 1:
        return f"frame {frames[0]} is"
    return f"frames {', '.join(map(str, frames[:5]))}{', ...' if len(frames) > 5 else ''} are"


# --- MOTChallenge -------------------------------------------------------------------------------------------------


def _read_mot(file: Path, clip_path: Path, class_names: list[str]) -> ClipAnnotation:
    clip = _sequence_info(clip_path) or _measured(clip_path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    boxes = [_mot_box(line, f"line {n}", file, class_names) for n, line in enumerate(lines, 1) if line.strip()]
    return _assembled(file, clip, boxes, class_names, MOT_STICKS_OUT)


def _sequence_info(clip_path: Path) -> _Clip | None:
    """Return what seqinfo.ini beside a folder of images says, if it is there."""
    file = clip_path.parent / "seqinfo.ini"
    if clip_path.name != "img1" or not file.is_file():
        return None
    parser = configparser.ConfigParser()
    try:
        parser.read(file, encoding="utf-8")
        count, height, width = (parser.getint("Sequence", key) for key in ("seqLength", "imHeight", "imWidth"))
    except (configparser.Error, ValueError) as error:
        raise ValueError(f"{file} must have seqLength, imWidth and imHeight: {error}") from None
    return _Clip(clip_path, count, (height, width))


def _mot_box(line: str, where: str, file: Path, class_names: list[str]) -> _Box:
    try:
        numbers = [float(part) for part in line.split(",")]
        frame, track = (int(number) if number.is_integer() else None for number in numbers[:2])
        if len(numbers) not in (9, 10) or frame is None or track is None:
            raise ValueError
    except ValueError:
        raise ValueError(f"{file}: {where}: expected {MOT_COLUMNS}; got {line.strip()!r}") from None
    left, top, width, height, counts = numbers[2:7]
    number, visibility = numbers[7:9]
    if len(numbers) == 10:  # of 2015: places in the world instead of class and visibility
        number, visibility = 1, 1.0
    if number not in range(1, len(class_names) + 1):
        known = f"{CLASSES_FILE} names {len(class_names)}, numbered from 1"
        raise ValueError(f"{file}: {where}, frame {frame}: unknown class {number:g}; {known}")
    return _Box(where, frame - 1, (left - 1, top - 1, width, height), int(number) - 1, counts == 0, track, visibility)


# --- checking and putting together --------------------------------------------------------------------------------


def _assembled(
    file: Path, clip: _Clip, boxes: list[_Box], class_names: Sequence[str], sticks_out: float
) -> ClipAnnotation:
    """Check boxes and sort them into the frames of a clip."""
    frames = [[] for _ in range(clip.count)]
    for box in boxes:
        if not 0 <= box.frame < clip.count:
            raise ValueError(
                f"{file}: {box.where}: its frame is number {box.frame + 1} of {clip.path.name}, "
                f"which has {clip.count} frames"
            )
        frames[box.frame].append((box, _corners(box, file, clip.size, sticks_out)))
    _check_tracks(file, boxes)
    truths = [
        Truth(
            np.array([corners for _, corners in found], dtype=np.float32).reshape(-1, 4),
            np.array([box.k for box, _ in found], dtype=np.int64),
            np.array([box.ignored for box, _ in found], dtype=bool),
        )
        for found in frames
    ]
    tracked = bool(boxes) and boxes[0].track is not None
    tracks = [np.array([box.track for box, _ in found], dtype=np.int64) for found in frames] if tracked else None
    visibility = [np.array([box.visibility for box, _ in found], dtype=np.float32) for found in frames]
    return ClipAnnotation(clip.path, clip.size, truths, tracks, visibility)


def _corners(box: _Box, file: Path, size: tuple[int, int], sticks_out: float) -> list[float]:
    """Return x1, y1, x2, y2 cut at the edge of the frame, or raise ValueError."""
    H, W = size
    x, y, width, height = box.xywh
    place = f"{file}: frame {box.frame}, {box.where}"
    if not all(map(math.isfinite, box.xywh)) or width <= 0 or height <= 0:
        raise ValueError(f"{place}: the box needs a width and a height above 0, got [x, y, width, height] {box.xywh}")
    out = max(-x, -y, x + width - W, y + height - H)
    corners = [max(x, 0.0), max(y, 0.0), min(x + width, W), min(y + height, H)]
    if out > sticks_out or np.float32(corners[2]) <= np.float32(corners[0]) or corners[3] <= corners[1]:
        raise ValueError(
            f"{place}: the box [x, y, width, height] {box.xywh} is outside the frame, {W} wide and {H} high"
        )
    if not 0 <= box.visibility <= 1:
        raise ValueError(f"{place}: visibility must be from 0 to 1, got {box.visibility}")
    return corners


def _check_tracks(file: Path, boxes: list[_Box]) -> None:
    """Refuse an id that a frame has twice, and files in which only some boxes have ids."""
    seen = {}
    for box in boxes:
        if (box.track is None) != (boxes[0].track is None):
            raise ValueError(f"{file}: {box.where}: either all boxes have a track_id or none, unlike {boxes[0].where}")
        first = seen.setdefault((box.frame, box.track), box.where)
        if box.track is not None and first != box.where:
            raise ValueError(f"{file}: frame {box.frame}, {box.where}: id {box.track} is there twice, see {first}")


# --- writing ------------------------------------------------------------------------------------------------------


def write_coco(path: str | Path, annotation: ClipAnnotation, class_names: Sequence[str]) -> None:
    """Write the annotation of a clip as COCO JSON.

    Parameters
    ----------
    path : path
        Of the file, which appears when it is complete. `read_annotations` looks for ``CLIP.json`` beside the clip.
    annotation : ClipAnnotation
        The clip itself need not be there. Boxes are rounded to a thousandth of a pixel.
    class_names : list of str
        K names; category ids are their numbers from 1.

    Raises
    ------
    ValueError
        For another suffix, and for what `read_annotations` would not read.
    FileNotFoundError
        If there is no folder to write to.

    Examples
    --------
    >>> import os, tempfile
    >>> truth = Truth(np.array([[2, 3, 12, 9]], np.float32), np.array([1]))
    >>> annotation = ClipAnnotation(Path("ann.mp4"), (32, 48), [truth], None, [np.ones(1)])
    >>> path = os.path.join(tempfile.mkdtemp(), "ann.json")
    >>> write_coco(path, annotation, ["dog", "cat"])
    >>> json.loads(Path(path).read_text())["annotations"][0]["bbox"]
    [2.0, 3.0, 10.0, 6.0]
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise ValueError(f"COCO annotations are .json files, got {path.name!r}")
    boxes = _listed_boxes(path, annotation, class_names)
    _assembled(path, _Clip(annotation.path, len(annotation.frames), annotation.size), boxes, class_names, ROUNDING)
    H, W = annotation.size
    name = annotation.path.name
    content = {
        "images": [
            {"id": t + 1, "frame_index": t, "file_name": name, "width": W, "height": H}
            for t in range(len(annotation.frames))
        ],
        "categories": [{"id": k + 1, "name": str(name)} for k, name in enumerate(class_names)],
        "annotations": [_coco_entry(n, box) for n, box in enumerate(boxes, 1)],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _listed_boxes(path: Path, annotation: ClipAnnotation, class_names: Sequence[str]) -> list[_Box]:
    """Return the boxes of all frames, or raise ValueError where lists and arrays do not fit together."""
    boxes = []
    for t, (truth, seen) in enumerate(zip(annotation.frames, annotation.visibility, strict=True)):
        M = len(truth.boxes)
        ignored = np.zeros(M, bool) if truth.ignored is None else truth.ignored
        tracks = [None] * M if annotation.tracks is None else annotation.tracks[t].tolist()
        lengths = {"classes": len(truth.classes), "ignored": len(ignored), "tracks": len(tracks)}
        wrong = {what: count for what, count in (lengths | {"visibility": len(seen)}).items() if count != M}
        if wrong:
            raise ValueError(f"{path}: frame {t} has {M} boxes, but {wrong}")
        for m, (x1, y1, x2, y2) in enumerate(np.asarray(truth.boxes, dtype=np.float64).tolist()):
            k = int(truth.classes[m])
            if not 0 <= k < len(class_names):
                raise ValueError(f"{path}: frame {t}, box {m}: unknown class {k}, there are {len(class_names)} names")
            xywh = tuple(round(number, 3) for number in (x1, y1, x2 - x1, y2 - y1))
            visible = round(float(seen[m]), 3)
            boxes.append(_Box(f"box {m}", t, xywh, k, bool(ignored[m]), tracks[m], visible))
    return boxes


def _coco_entry(n: int, box: _Box) -> dict:
    entry = {"id": n, "image_id": box.frame + 1, "category_id": box.k + 1, "bbox": list(box.xywh)}
    entry |= {"area": round(box.xywh[2] * box.xywh[3], 3), "iscrowd": int(box.ignored)}
    entry |= {} if box.track is None else {"track_id": box.track}
    return entry | {"visibility": box.visibility}
