"""Annotation files: what is read, what is written, and what is refused by file, frame and box."""

import json
import re

import numpy as np
import pytest

from minivid.detection import ClipAnnotation, Truth, read_annotations, write_coco
from minivid.video import write_clip

H, W, T = 32, 48, 3


def coco():
    """Three frames of 48 x 32; a dog in frames 0 and 2, a cat in frame 0; none in frame 1."""
    return {
        "images": [{"id": 10 + t, "frame_index": t, "width": W, "height": H} for t in range(T)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 3, "bbox": [4, 5, 10, 8], "track_id": 1, "visibility": 0.5},
            {"id": 2, "image_id": 10, "category_id": 7, "bbox": [0, 0, 48, 32], "track_id": 2, "iscrowd": 1},
            {"id": 3, "image_id": 12, "category_id": 3, "bbox": [6.5, 5, 10, 8], "track_id": 1},
        ],
    }


MOT = """\
1, 1, 5, 6, 10, 8, 1, 2, 0.5
1,2,1,1,48,32,0,1,1

3,1,7.5,6,10,8,1,2,1.0
"""


@pytest.fixture
def folder(tmp_path):
    write_clip(tmp_path / "walk.mp4", np.zeros((T, H, W, 3), np.uint8))
    return tmp_path


def write(folder, content):
    (folder / "walk.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def check_walk(annotation, dog, cat, path):
    """The same boxes, whichever file they come from."""
    assert annotation.path == path
    assert annotation.size == (H, W)
    assert [truth.boxes.tolist() for truth in annotation.frames] == [
        [[4, 5, 14, 13], [0, 0, 48, 32]],
        [],
        [[6.5, 5, 16.5, 13]],
    ]
    assert [truth.classes.tolist() for truth in annotation.frames] == [[dog, cat], [], [dog]]
    assert [truth.ignored.tolist() for truth in annotation.frames] == [[False, True], [], [False]]
    assert [ids.tolist() for ids in annotation.tracks] == [[1, 2], [], [1]]
    assert [seen.tolist() for seen in annotation.visibility] == [[0.5, 1], [], [1]]
    for truth, seen in zip(annotation.frames, annotation.visibility, strict=True):
        assert (truth.boxes.dtype, truth.boxes.shape[1], truth.classes.dtype) == (np.float32, 4, np.int64)
        assert seen.dtype == np.float32


# --- what is read ----------------------------------------------------------------------------------------------


def test_coco(folder):
    names, (annotation,) = read_annotations(write(folder, coco()))
    assert names == ["dog", "cat"]  # by id: 3, 7
    check_walk(annotation, 0, 1, folder / "walk.mp4")


def test_mot_text_beside_the_clip(folder):
    (folder / "classes.txt").write_text("cat\ndog\n")
    (folder / "walk.txt").write_text(MOT)
    names, (annotation,) = read_annotations(folder)
    assert names == ["cat", "dog"]
    check_walk(annotation, 1, 0, folder / "walk.mp4")


def test_mot_folder_of_images(tmp_path):
    """As the challenge has it: SEQ/img1/000001.png, SEQ/gt/gt.txt, SEQ/seqinfo.ini."""
    from PIL import Image

    for name in ("img1", "gt"):
        (tmp_path / "SEQ" / name).mkdir(parents=True)
    for t in range(1, T + 1):
        Image.new("RGB", (W, H)).save(tmp_path / "SEQ" / "img1" / f"{t:06d}.png")
    (tmp_path / "classes.txt").write_text("cat\ndog")
    (tmp_path / "SEQ" / "gt" / "gt.txt").write_text(MOT)
    _, (annotation,) = read_annotations(tmp_path)
    check_walk(annotation, 1, 0, tmp_path / "SEQ" / "img1")
    (tmp_path / "SEQ" / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={T + 1}\nimWidth={W}\nimHeight={H}\n")
    _, (annotation,) = read_annotations(tmp_path)
    assert len(annotation.frames) == T + 1  # believed
    (tmp_path / "SEQ" / "seqinfo.ini").write_text("[Sequence]\nseqLength=3\n")
    with pytest.raises(ValueError, match=r"seqinfo.ini must have seqLength, imWidth and imHeight: .*imheight"):
        read_annotations(tmp_path)


def test_mot_of_2015_has_one_class(folder):
    (folder / "classes.txt").write_text("person\n")
    (folder / "walk.txt").write_text("2,1,5,6,10,8,1,-1,-1,-1\n")
    _, (annotation,) = read_annotations(folder)
    assert annotation.frames[1].boxes.tolist() == [[4, 5, 14, 13]]
    assert annotation.visibility[1].tolist() == [1]


def test_coco_images_without_frame_index_are_in_natural_order(folder):
    content = coco()
    for image, name in zip(content["images"], ("frame10.png", "frame2.png", "frame9.png"), strict=True):
        del image["frame_index"]
        image["file_name"] = name
    _, (annotation,) = read_annotations(write(folder, content))
    assert [len(truth.boxes) for truth in annotation.frames] == [0, 1, 2]  # frame2, frame9, frame10


def test_coco_without_extras(folder):
    content = coco()
    content["annotations"] = [{"image_id": 11, "category_id": 3, "bbox": [0, 0, 1, 1]}]
    _, (annotation,) = read_annotations(write(folder, content))
    assert annotation.tracks is None
    assert annotation.visibility[1].tolist() == [1]


def test_a_clip_without_objects(folder):
    _, (annotation,) = read_annotations(write(folder, coco() | {"annotations": []}))
    assert [truth.boxes.shape for truth in annotation.frames] == [(0, 4)] * T


def test_several_clips_in_natural_order_with_the_classes_of_the_list(folder):
    for name in ("walk10", "walk2"):
        write_clip(folder / f"{name}.mp4", np.zeros((T, H, W, 3), np.uint8))
        (folder / f"{name}.json").write_text(json.dumps(coco()))
    write(folder, coco())
    (folder / "classes.txt").write_text("bird\ncat\ndog\n")
    names, annotations = read_annotations(folder)
    assert names == ["bird", "cat", "dog"]
    assert [annotation.path.stem for annotation in annotations] == ["walk", "walk2", "walk10"]
    assert annotations[2].frames[0].classes.tolist() == [2, 1]


def test_boxes_are_cut_at_the_edge(folder):
    """COCO: what rounding makes; MOTChallenge: all that are not wholly outside."""
    content = coco()
    content["annotations"][0]["bbox"] = [-0.5, 4, 10, 28.75]
    _, (annotation,) = read_annotations(write(folder, content))
    assert annotation.frames[0].boxes[0].tolist() == [0, 4, 9.5, 32]
    (folder / "walk.json").unlink()
    (folder / "classes.txt").write_text("cat\n")
    (folder / "walk.txt").write_text("1,1,-9,1,20,100,1,1,1\n")
    _, (annotation,) = read_annotations(folder)
    assert annotation.frames[0].boxes[0].tolist() == [0, 0, 10, 32]


# --- what is refused -------------------------------------------------------------------------------------------


def changed(path, value):
    """The file with one entry changed; a path ends in "-" to take the entry away."""
    content = coco()
    place = content
    for key in path[:-1]:
        place = place[key]
    if value == "-":
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


BOX = ("annotations", 0)
COCO_ERRORS = {
    "negative size": (changed((*BOX, "bbox"), [4, 5, -10, 8]), "frame 0, annotation 1: the box needs a width and a he"),
    "no height": (changed((*BOX, "bbox"), [4, 5, 10, 0]), r"frame 0, annotation 1: .* above 0, got .* \(4, 5, 10, 0\)"),
    "not finite": (changed((*BOX, "bbox"), [4, 5, float("nan"), 8]), "frame 0, annotation 1: the box needs"),
    "outside": (
        changed((*BOX, "bbox"), [48, 0, 1, 1]),
        "frame 0, annotation 1: the box .* is outside the frame, 48 wi",
    ),
    "sticks out": (changed(("annotations", 2, "bbox"), [40, 5, 10, 8]), "frame 2, annotation 3: .* outside the frame"),
    "three numbers": (changed((*BOX, "bbox"), [4, 5, 10]), r"frame 0, annotation 1: bbox must be \[x, y, width, hei"),
    "no box": (changed((*BOX, "bbox"), "-"), r"frame 0, annotation 1: bbox must be .* got None"),
    "text": (changed((*BOX, "bbox"), [4, 5, "10", 8]), "frame 0, annotation 1: bbox must be"),
    "unknown class": (changed((*BOX, "category_id"), 9), "frame 0, annotation 1: unknown class: category_id 9"),
    "unknown image": (changed((*BOX, "image_id"), 99), 'annotation 1: there is no image 99 in "images"'),
    "id twice": (
        changed(("annotations", 1, "track_id"), 1),
        "frame 0, annotation 2: id 1 is there twice, see annotati",
    ),
    "some ids": (
        changed(("annotations", 1, "track_id"), "-"),
        "annotation 2: either all boxes have a track_id or none",
    ),
    "visibility": (
        changed((*BOX, "visibility"), 1.5),
        "frame 0, annotation 1: visibility must be from 0 to 1, got 1.5",
    ),
    "frame missing": (changed(("images", 1), "-"), 'frame 1 is missing of walk.mp4: "images" must list every frame'),
    "no images": (changed(("images",), []), "frames 0, 1, 2 are missing of walk.mp4"),
    "frame too many": (changed(("images", 1, "frame_index"), 3), "frame 3 does not exist: walk.mp4 has the frames 0 t"),
    "frame twice": (changed(("images",), [*coco()["images"], {"id": 1, "frame_index": 0}]), "4 entries for 3 frames"),
    "other size": (changed(("images", 1, "width"), 96), r"frame 1 is annotated at 96x32 pixels .* walk.mp4 has 48x32"),
    "image without id": (
        changed(("images", 1, "id"), "-"),
        'the image of frame 1: "id" must be a whole number, it has',
    ),
    "no frame index": (changed(("images", 1, "frame_index"), "-"), 'an image: "frame_index" must be a whole number'),
    "no categories": (changed(("categories",), "-"), 'it needs "categories", a list of objects'),
    "two names": (changed(("categories", 1, "name"), "cat"), r"must name classes, each once, got \['cat', 'cat'\]"),
    "two ids": (changed(("categories", 1, "id"), 7), "two categories have the same id"),
    "annotations": (changed(("annotations",), {}), 'it needs "annotations", a list of objects'),
    "list": ([], "is no COCO file: expected an object with images"),
    "half a file": (json.dumps(coco())[:100], "is damaged, or no JSON: "),
}


@pytest.mark.parametrize("name", COCO_ERRORS)
def test_coco_errors_name_file_frame_and_box(folder, name):
    content, message = COCO_ERRORS[name]
    with pytest.raises(ValueError, match=rf"walk\.json.*{message}"):
        read_annotations(write(folder, content))


def test_images_with_one_name_need_a_frame_index(folder):
    content = coco()
    for image in content["images"]:
        del image["frame_index"]
    with pytest.raises(ValueError, match='its images need a "frame_index" from 0'):
        read_annotations(write(folder, content))


def test_another_class_than_the_list_has(folder):
    (folder / "classes.txt").write_text("cat\nbird\n")
    with pytest.raises(ValueError, match=r"walk\.json: unknown class 'dog'; the classes of this folder are cat, bird"):
        read_annotations(write(folder, coco()))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("4,1,5,6,10,8,1,1,1", "line 1: its frame is number 4 of walk.mp4, which has 3 frames"),
        ("0,1,5,6,10,8,1,1,1", "line 1: its frame is number 0"),
        ("1,1,5,6,10,8,1,3,1", "line 1, frame 1: unknown class 3; classes.txt names 2, numbered from 1"),
        ("1,1,5,6,10,8,1,0,1", "line 1, frame 1: unknown class 0"),
        ("1,1,5,6,10,-8,1,1,1", "frame 0, line 1: the box needs a width and a height above 0"),
        ("1,1,60,6,10,8,1,1,1", "frame 0, line 1: the box .* is outside the frame, 48 wide and 32 high"),
        ("2,1,5,6,10,8,1,1,1\n2,1,7,6,10,8,1,1,1", "frame 1, line 2: id 1 is there twice, see line 1"),
        ("1,1,5,6,10,8,1,1,-1", "frame 0, line 1: visibility must be from 0 to 1, got -1.0"),
        ("1,1,5,6,10", "line 1: expected frame, id, left, top, .*; got '1,1,5,6,10'"),
        ("1 1 5 6 10 8 1 1 1", "line 1: expected frame, id"),
        ("1,1,5,6,ten,8,1,1,1", "line 1: expected frame, id"),
        ("1.5,1,5,6,10,8,1,1,1", "line 1: expected frame, id"),
        ("nan,1,5,6,10,8,1,1,1", "line 1: expected frame, id"),
    ],
)
def test_mot_errors_name_file_frame_and_line(folder, line, message):
    (folder / "classes.txt").write_text("cat\ndog\n")
    (folder / "walk.txt").write_text(line)
    with pytest.raises(ValueError, match=rf"walk\.txt: {message}"):
        read_annotations(folder)


def test_mot_needs_class_names(folder):
    (folder / "walk.txt").write_text(MOT)
    with pytest.raises(ValueError, match=r"needs classes\.txt with one class name per line"):
        read_annotations(folder)


def test_files_that_do_not_fit_together(folder):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_annotations(folder / "nowhere")
    with pytest.raises(NotADirectoryError, match="is a file"):
        read_annotations(folder / "walk.mp4")
    with pytest.raises(ValueError, match="holds no annotations"):
        read_annotations(folder)
    write(folder, coco())
    write_clip(folder / "run.mp4", np.zeros((T, H, W, 3), np.uint8))
    with pytest.raises(ValueError, match=r"clips without an annotation, run\.mp4"):
        read_annotations(folder)
    (folder / "run.mp4").unlink()
    (folder / "run.json").write_text(json.dumps(coco()))
    with pytest.raises(ValueError, match=r"run\.json must have one clip named run\.mp4 .* but there is no clip"):
        read_annotations(folder)
    (folder / "run.json").unlink()
    (folder / "walk.txt").write_text("1,1,5,6,10,8,1,1,1")
    with pytest.raises(ValueError, match="clips with two annotations"):
        read_annotations(folder)


# --- what is written -------------------------------------------------------------------------------------------


def an_annotation(path, boxes=((4, 5, 14, 13), (0.25, 0, 48, 32)), **changes):
    boxes = np.array(boxes, np.float32)
    truths = [Truth(boxes, np.array([1, 0]), np.array([False, True])), Truth(boxes[:0], np.zeros(0, int))]
    annotation = ClipAnnotation(
        path, (H, W), truths, [np.array([1, 2]), np.zeros(0, int)], [np.array([0.25, 1]), np.zeros(0)]
    )
    return annotation._replace(**changes)


@pytest.mark.parametrize("tracked", [True, False])
def test_written_and_read_back(tmp_path, tracked):
    write_clip(tmp_path / "ann.mp4", np.zeros((2, H, W, 3), np.uint8))
    annotation = an_annotation(tmp_path / "ann.mp4")
    annotation = annotation if tracked else annotation._replace(tracks=None)
    write_coco(tmp_path / "ann.json", annotation, ["dog", "cat"])
    names, (found,) = read_annotations(tmp_path)
    assert names == ["dog", "cat"]
    assert (found.path, found.size) == (annotation.path, annotation.size)
    for t in range(2):
        np.testing.assert_array_equal(found.frames[t].boxes, annotation.frames[t].boxes)
        np.testing.assert_array_equal(found.frames[t].classes, annotation.frames[t].classes)
        np.testing.assert_array_equal(found.visibility[t], annotation.visibility[t])
    assert found.frames[0].ignored.tolist() == [False, True]
    assert [ids.tolist() for ids in found.tracks] == [[1, 2], []] if tracked else found.tracks is None


def test_the_file_is_coco(tmp_path):
    """The keys that COCO's own tools read; x, y, width, height; ids from 1."""
    write_coco(tmp_path / "ann.json", an_annotation(tmp_path / "ann.mp4"), ["dog", "cat"])
    content = json.loads((tmp_path / "ann.json").read_text())
    assert content["images"][1] == {"id": 2, "frame_index": 1, "file_name": "ann.mp4", "width": W, "height": H}
    assert content["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    assert content["annotations"][1] == {
        "id": 2,
        "image_id": 1,
        "category_id": 1,
        "bbox": [0.25, 0, 47.75, 32],
        "area": 47.75 * 32,
        "iscrowd": 1,
        "track_id": 2,
        "visibility": 1,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": [(4, 5, 4, 13)] * 2}, "frame 0, box 0: the box needs a width and a height above 0"),
        ({"boxes": [(4, 5, 14, 13), (40, 5, 60, 13)]}, "frame 0, box 1: the box .* is outside the frame"),
        ({"tracks": [np.array([3, 3]), np.zeros(0, int)]}, "frame 0, box 1: id 3 is there twice, see box 0"),
        ({"visibility": [np.ones(1), np.zeros(0)]}, "frame 0 has 2 boxes, but {'visibility': 1}"),
        ({"visibility": [np.array([1, 2]), np.zeros(0)]}, "frame 0, box 1: visibility must be from 0 to 1, got 2"),
    ],
)
def test_nothing_wrong_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=re.escape("ann.json: ") + message):
        write_coco(tmp_path / "ann.json", an_annotation(tmp_path / "ann.mp4", **changes), ["dog", "cat"])
    assert not list(tmp_path.iterdir())


def test_writing_refuses_unknown_classes_and_other_suffixes(tmp_path):
    annotation = an_annotation(tmp_path / "ann.mp4")
    with pytest.raises(ValueError, match="frame 0, box 0: unknown class 1, there are 1 names"):
        write_coco(tmp_path / "ann.json", annotation, ["dog"])
    with pytest.raises(ValueError, match=r"COCO annotations are \.json files, got 'ann\.txt'"):
        write_coco(tmp_path / "ann.txt", annotation, ["dog", "cat"])
