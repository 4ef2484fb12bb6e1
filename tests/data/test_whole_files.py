"""A file is there whole, or as it was."""

import pytest

from frailt.data.whole_files import write_file_whole, write_whole


def test_what_could_not_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "record.json"
    write_whole(path, "before")

    def half(partial):
        partial.write_text("af")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_file_whole(path, half)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_whole(path, "after")
    assert path.read_text() == "after"
