"""Files are written whole or not at all."""

import threading

from mini.runs import files


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, stop = tmp_path / "file", threading.Event()
    files.write_atomically(path, b"a" * 100_000)

    def write():
        while not stop.is_set():
            for letter in (b"a", b"b"):
                files.write_atomically(path, letter * 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            content = path.read_bytes()
            assert len(content) == 100_000
            assert len(set(content)) == 1
    finally:
        stop.set()
        writer.join()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
