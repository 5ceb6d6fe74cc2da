"""Files that come home."""

import io
import tarfile

import pytest

from mini.apparatus.modal.archive import unpack


def pack(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, content if kind != tarfile.REGTYPE else ""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content.encode()) if info.size else None)
    return path


def test_files_and_links_between_them_come_home(tmp_path):
    archive = pack(tmp_path / "a.tar.gz", ("0/a.txt", tarfile.REGTYPE, "x"), ("0/last", tarfile.SYMTYPE, "a.txt"))
    unpack(archive, tmp_path / "run")
    assert (tmp_path / "run" / "0" / "last").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("../outside.txt", tarfile.REGTYPE, "x"),
        ("0/link", tarfile.SYMTYPE, "../../outside.txt"),
        ("0/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("0/hard", tarfile.LNKTYPE, "../outside.txt"),
        ("0/device", tarfile.CHRTYPE, ""),
    ],
)
def test_nothing_is_written_outside(tmp_path, name, kind, content):
    archive = pack(tmp_path / "a.tar.gz", (name, kind, content))
    with pytest.raises((tarfile.TarError, KeyError)):
        unpack(archive, tmp_path / "run")
    assert not (tmp_path / "outside.txt").exists()
