import pytest

from minivid.files import replacing


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "figures.json"
    target.write_text("old")

    def write_half():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_new_file_takes_the_old_ones_place(tmp_path):
    target = tmp_path / "clip.mp4"
    target.write_text("old")
    with replacing(target) as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_the_file_as_usual(tmp_path):
    (tmp_path / "plain").write_text("")
    with replacing(tmp_path / "written") as temporary:
        temporary.write_text("")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"), replacing(tmp_path / "nowhere" / "a"):
        pass
