"""Files that come home: whatever the archive says, they are those of the jobs, and no more than are wanted."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from mini.apparatus.modal import archive
from mini.errors import VolumeError


def pack(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, content if kind != tarfile.REGTYPE else ""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content.encode()) if info.size else None)
    return path


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_files_and_links_between_them_come_home(tmp_path):
    made = pack(tmp_path / "a.tar.gz", ("0/a.txt", tarfile.REGTYPE, "x"), ("0/last", tarfile.SYMTYPE, "a.txt"))
    archive.unpack(made, tmp_path / "run", ["0"])
    assert (tmp_path / "run" / "0" / "last").read_text() == "x"
    assert everything_in(tmp_path / "run") == ["0/a.txt", "0/last"]


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("../outside.txt", tarfile.REGTYPE, "x"),
        ("/outside.txt", tarfile.REGTYPE, "x"),
        ("0/../../outside.txt", tarfile.REGTYPE, "x"),
        ("0/link", tarfile.SYMTYPE, "../../outside.txt"),
        ("0/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("0/hard", tarfile.LNKTYPE, "../outside.txt"),
        ("0/device", tarfile.CHRTYPE, ""),
        ("0/fifo", tarfile.FIFOTYPE, ""),
        ("driver.pkl", tarfile.REGTYPE, "what `mini retry` would unpickle"),
        ("run.json", tarfile.REGTYPE, "what `mini retry` would run"),
        ("1/of-another-job.txt", tarfile.REGTYPE, "x"),
    ],
)
def test_nothing_is_written_that_is_no_file_of_a_job(tmp_path, name, kind, content):
    made = pack(tmp_path / "a.tar.gz", ("0/first.txt", tarfile.REGTYPE, "x"), (name, kind, content))
    with pytest.raises(VolumeError, match="refused"):
        archive.unpack(made, tmp_path / "run", ["0"])
    assert not (tmp_path / "outside.txt").exists()
    assert everything_in(tmp_path / "run") == []


def test_a_link_that_leads_out_of_the_run_folder_here_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "0").symlink_to("../elsewhere")
    with pytest.raises(VolumeError, match="leads out"):
        archive.unpack(pack(tmp_path / "a.tar.gz", ("0/a.txt", tarfile.REGTYPE, "x")), tmp_path / "run", ["0"])
    assert everything_in(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(("each", "total"), [(100, None), (None, 150), (100, 150)])
def test_more_than_is_allowed_is_refused(tmp_path, each, total):
    made = pack(tmp_path / "a.tar.gz", ("0/a", tarfile.REGTYPE, "x" * 90), ("0/b", tarfile.REGTYPE, "x" * 110))
    with pytest.raises(VolumeError, match=r"allowed|more than"):
        archive.unpack(made, tmp_path / "run", ["0"], each, total)
    archive.unpack(made, tmp_path / "run", ["0"], 110, 200)


def test_a_file_that_says_it_is_huge_and_has_holes_is_refused(tmp_path):
    """A sparse file of GNU tar: 1 TiB that takes a block in the archive."""
    header = tarfile.TarInfo("0/bomb")
    header.size = 512
    raw = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    raw[156:157] = tarfile.GNUTYPE_SPARSE
    raw[386:398], raw[398:410] = b"00000000000\0", b"00000001000\0"
    raw[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = f"{sum(raw[:512]):06o}\0 ".encode()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(raw) + bytes(512) + bytes(1024)))
    with pytest.raises(VolumeError, match="sparse"):
        archive.unpack(tmp_path / "a.tar.gz", tmp_path / "run", ["0"])
    assert everything_in(tmp_path / "run") == []


def test_headers_that_never_end_are_refused(tmp_path):
    """A bomb that is no file: gigabytes of a header that compress to nothing."""
    info = tarfile.TarInfo("0/a.txt")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    with gzip.open(tmp_path / "a.tar.gz", "wb") as packed:
        packed.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            packed.write(bytes(2**20))
    with pytest.raises(VolumeError, match="headers"):
        archive.unpack(tmp_path / "a.tar.gz", tmp_path / "run", ["0"])


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_what_is_damaged_is_refused(tmp_path, damage):
    made = pack(tmp_path / "a.tar.gz", ("0/a.txt", tarfile.REGTYPE, os.urandom(5000).hex()))
    made.write_bytes(made.read_bytes()[:2000] if damage is None else damage)
    with pytest.raises(VolumeError):
        archive.unpack(made, tmp_path / "run", ["0"])
    assert everything_in(tmp_path / "run") == []


def test_what_a_container_packs_is_what_is_wanted(tmp_path):
    run = tmp_path / "run"
    for job in ("0", "1"):
        (run / job).mkdir(parents=True)
        (run / job / "record.json").write_bytes(bytes(500))
        (run / job / "small.txt").write_bytes(bytes(50))
        (run / job / "large.bin").write_bytes(bytes(200))
        (run / job / "inside").symlink_to("small.txt")
        (run / job / "outside").symlink_to("/etc/passwd")
        (run / job / "loop").symlink_to("loop")
        os.mkfifo(run / job / "fifo")
    (run / "results.parquet").write_bytes(b"PAR1")
    left_out = archive.pack(tmp_path / "all.tar.gz", run, ["0", "1"], None, 500)
    assert left_out == ["1/large.bin"]
    archive.unpack(tmp_path / "all.tar.gz", tmp_path / "home", ["0", "1"], None, 500)
    of_each = ["inside", "large.bin", "record.json", "small.txt"]
    expected = [f"0/{name}" for name in of_each] + [f"1/{name}" for name in of_each] + ["results.parquet"]
    assert everything_in(tmp_path / "home") == [name for name in expected if name != "1/large.bin"]
    assert archive.pack(tmp_path / "all.tar.gz", run, ["0"], 100, None) == []
    archive.unpack(tmp_path / "all.tar.gz", tmp_path / "small", ["0"], 100, None)
    assert not Path(tmp_path, "small", "0", "large.bin").exists()
