"""A Modal volume's operations, over the wire."""

import asyncio
import os

import pytest

from mini import RehearsalApparatus
from mini.errors import UsageError


@pytest.fixture(scope="module")
def apparatus():
    with RehearsalApparatus("volumes") as made:
        yield made


@pytest.fixture
def volume(apparatus, tmp_path):
    """With a folder of three files, one of them larger than a block."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("a ✓")
    (source / "deep" / "empty").touch()
    (source / "deep" / "big.bin").write_bytes(os.urandom(9 * 2**20))
    apparatus.volume.upload(source, "up")
    return apparatus.volume


def test_listing_needs_no_image_and_no_container(apparatus, volume):
    assert volume.listdir("up") == ["up/a.txt", "up/deep"]
    assert volume.listdir("up", recursive=True) == ["up/a.txt", "up/deep", "up/deep/big.bin", "up/deep/empty"]
    requests = apparatus.loopback.state.requests
    assert not {"ImageGetOrCreate", "AppCreate", "FunctionCreate"} & requests.keys()


def test_what_comes_back_is_what_went(volume, tmp_path):
    assert volume.read("up/a.txt").decode() == "a ✓"
    home = volume.download("up", tmp_path / "home")
    for file in ("a.txt", "deep/empty", "deep/big.bin"):
        assert (home / file).read_bytes() == (tmp_path / "source" / file).read_bytes()
    assert volume.download("up/a.txt", tmp_path / "one.txt").read_text() == "a ✓"


def test_a_second_download_fetches_what_is_missing_only(apparatus, volume, tmp_path):
    volume.download("up", tmp_path / "home")
    (tmp_path / "home" / "a.txt").unlink()
    before = apparatus.loopback.state.requests["VolumeGetFile2"]
    volume.download("up", tmp_path / "home")
    assert apparatus.loopback.state.requests["VolumeGetFile2"] == before + 1
    assert (tmp_path / "home" / "a.txt").exists()
    assert not list((tmp_path / "home").rglob("*.part"))


def test_a_file_that_changed_there_is_fetched_again(volume, tmp_path):
    volume.download("up", tmp_path / "home")
    (tmp_path / "new.txt").write_text("another")
    volume.upload(tmp_path / "new.txt", "up/a.txt")
    assert (volume.download("up", tmp_path / "home") / "a.txt").read_text() == "another"


def test_removing(volume):
    volume.remove("up/a.txt")
    assert "up/a.txt" not in volume.listdir("up")
    volume.remove("up", recursive=True)
    with pytest.raises(FileNotFoundError):
        volume.listdir("up")


@pytest.mark.parametrize("operation", ["listdir", "read"])
def test_what_is_not_there_is_a_file_not_found(volume, operation):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        getattr(volume, operation)("nowhere")


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../../b"])
def test_paths_stay_inside(volume, path):
    with pytest.raises(UsageError, match="not a path inside the volume"):
        volume.read(path)


def test_the_volume_itself_is_not_removed(volume):
    with pytest.raises(UsageError, match="not the volume itself"):
        volume.remove("", recursive=True)


def test_the_twins_work_in_a_running_loop(volume, tmp_path):
    async def main():
        await volume.aupload(tmp_path / "source" / "a.txt", "twin/a.txt")
        texts = await volume.alistdir("twin"), (await volume.aread("twin/a.txt")).decode()
        await volume.adownload("twin", tmp_path / "twin")
        await volume.aremove("twin", recursive=True)
        return texts, volume.listdir("up")[0]

    assert asyncio.run(main()) == ((["twin/a.txt"], "a ✓"), "up/a.txt")
    assert (tmp_path / "twin" / "a.txt").exists()
