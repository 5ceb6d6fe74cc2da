# ruff: noqa: PTH208, PTH116, PTH202, C416, UP020, PT013, PTH109
"""Jobs that work where they are written, by luck, and not in a container. Each is one defect."""

import ctypes
import getpass
import importlib
import importlib.metadata
import io
import logging.handlers
import os
import pwd
import runpy
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from pathlib import Path

from omegaconf import OmegaConf

HERE = Path(__file__).resolve()


# Files.


def absolute_path(there):
    return Path(there["project"], "data", "numbers.csv").read_text()


def relative_path(there):
    return Path("data/numbers.csv").read_text()


def beside_the_source(there):
    return (HERE.parents[2] / "data" / "numbers.csv").read_text()


def folder_without_python(there):
    return (HERE.parents[1] / "assets" / "note.txt").read_text()


def ignored_by_git(there):
    return (HERE.parent / "table.ignored").read_text()


def looks_like_a_secret(there):
    return (HERE.parent / ".env").read_text()


def home(there):
    return Path(there["home"]).read_text()


def home_by_tilde(there):
    return Path("~", Path(there["home"]).name).expanduser().read_text()


def left_in_tmp(there):
    return Path(there["tmp"]).read_text()


def config_of_the_checkout(there):
    return OmegaConf.load(Path(there["project"], "conf", "rates.yaml")).rate


def config_from_where_it_starts(there):
    return OmegaConf.load("conf/rates.yaml").rate


def list_the_checkout(there):
    return len(os.listdir(there["project"]))


def change_to_the_checkout(there):
    os.chdir(there["project"])


def read_the_pyproject(there):
    return Path("pyproject.toml").read_text()


def write_into_the_checkout(there):
    Path(there["project"], "data", "written.csv").write_text("1")


def log_into_the_checkout(there):
    logging.FileHandler(Path(there["project"], "data", "all.log")).close()


def rotate_logs_elsewhere(there):
    logging.handlers.RotatingFileHandler(Path(there["project"]) / "data" / "r.log").close()


def database_of_the_checkout(there):
    return sqlite3.connect(f"file:{there['project']}/data/runs.db?mode=rw", uri=True).execute("select 1").fetchall()


def archive_of_the_checkout(there):
    return zipfile.ZipFile(Path(there["project"], "data", "all.zip")).namelist()


def copy_from_the_checkout(there):
    return shutil.copy(Path(there["project"], "data", "numbers.csv"), tempfile.mkdtemp())


def copy_a_tree(there):
    return shutil.copytree(Path(there["project"], "data"), Path(tempfile.mkdtemp(), "data"))


def size_of_a_file(there):
    return os.stat(Path(there["project"], "data", "numbers.csv")).st_size


def size_by_the_system(there):
    return os.path.getsize("data/numbers.csv")


def walk_finds_nothing(there):
    found = [path for path in Path(there["project"], "data").iterdir()]
    return len(found)


def own_temporary_folder(there):
    return tempfile.mkstemp(dir=there["scratch"])


def interpreter_by_its_path(there):
    return subprocess.run([there["python"], "-c", "print(1)"], check=True, capture_output=True).stdout


def script_of_the_checkout(there):
    return runpy.run_path(str(Path(there["project"], "tools.py")))


def memory_of_a_file(there):
    with io.open(Path(there["project"], "data", "numbers.csv"), "rb") as file:
        return len(file.read())


def socket_of_a_service(there):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(there["unix"])


def link_out_of_the_source(there):
    return (HERE.parent / "linked" / "numbers.csv").read_text()


# Packages.


def group_dev(there):
    import trustme

    return trustme.__name__


def group_dev_late(there):
    return importlib.import_module("_pytest").__name__


def group_local(there):
    import ipdb

    return ipdb.__name__


def declared_nowhere(there):
    import pyte

    return pyte.__name__


def by_its_name(there):
    return importlib.import_module("hydra_zen").__name__


def inner_module(there):
    from pytest import approx

    return str(approx(1))


def checked_types(there):
    import mypy

    return mypy.__name__


def own_version(there):
    return importlib.metadata.version("defects")


def version_of_a_tool(there):
    return importlib.metadata.version("ruff")


def path_that_was_added(there):
    sys.path.append(there["elsewhere"])
    return importlib.import_module("somewhere").VALUE


def tests_as_a_library(there):
    return importlib.import_module("tests.helpers").__name__


# Programs.


def program(there, name):
    return subprocess.run([name, "--version"], check=True, capture_output=True).stdout[:10]


def git(there):
    return program(there, "git")


def curl(there):
    return program(there, "curl")


def make(there):
    return program(there, "make")


def compiler(there):
    return program(there, "gcc")


def processes(there):
    return program(there, "ps")


def downloader(there):
    return program(there, "wget")


def by_a_shell(there):
    return subprocess.run("git --version", shell=True, check=True, capture_output=True).stdout


def by_check_output(there):
    return subprocess.check_output(["git", "--version"])


def by_popen(there):
    with subprocess.Popen(["git", "--version"], stdout=subprocess.PIPE) as done:
        return done.communicate()[0][:3]


def console_script(there):
    return subprocess.run(["ruff", "--version"], check=True, capture_output=True).stdout


def own_command(there):
    return subprocess.run(["uv", "--version"], check=True, capture_output=True).stdout


# Environment.


def variable(there):
    return os.environ["DEFECTS_TOKEN"]


def variable_in_a_config(there):
    return OmegaConf.create({"a": "${oc.env:DEFECTS_TOKEN}"}).a


def search_path(there):
    return os.environ["DEFECTS_SEARCH_PATH"].split(":")


def environment_of_the_project(there):
    return os.environ["DEFECTS_VIRTUAL_ENV"]


def child_with_the_variable(there):
    code = "import os; os.environ['DEFECTS_TOKEN']"
    return subprocess.run([sys.executable, "-c", code], check=True)


def time_zone(there):
    assert time.strftime("%Z", time.localtime(0)) == there["zone"], f"the time zone is {time.tzname[0]}"


def language(there):
    assert os.environ.get("LC_ALL") == there["language"], f"LC_ALL is {os.environ.get('LC_ALL')}"


def host_name(there):
    assert socket.gethostname() == there["host"], f"this machine is {socket.gethostname()}"


def own_user(there):
    assert pwd.getpwnam(there["user"]).pw_dir == there["home_folder"], f"the home of {there['user']} is elsewhere"


def process_of_the_sender(there):
    os.kill(there["pid"], 0)


def process_by_its_number(there):
    return Path(f"/proc/{there['pid']}/cmdline").read_bytes()


# Network.


def local_service(there):
    return urllib.request.urlopen(f"http://127.0.0.1:{there['port']}/", timeout=5).status


def local_service_by_name(there):
    return socket.create_connection(("localhost", there["port"]), timeout=5).close()


def service_by_address(there):
    with socket.socket() as one:
        one.settimeout(5)
        one.connect(("127.0.0.1", there["port"]))


# Libraries of the system.


def library_of_x(there):
    return ctypes.CDLL("libX11.so.6")._name


def library_of_xml(there):
    return ctypes.CDLL("libxml2.so.2")._name


def tk(there):
    import tkinter

    return tkinter.TkVersion


# Ends.


def crash(there):
    ctypes.string_at(0)


def exit_at_once(there):
    os._exit(3)


def killed(there):
    os.kill(os.getpid(), signal.SIGKILL)


def too_long(there):
    time.sleep(600)


def too_much_to_return(there):
    return b"x" * (3 * 2**20)


def too_much_memory(there):
    return len(bytearray(700 * 2**20))


def not_to_be_pickled(there):
    return threading.Lock()


def exits(there):
    sys.exit(7)


def nobody(there):
    return getpass.getuser()


# What works on Modal, and must work here.


def fine(there):
    return 1


def writes_below_root(there):
    Path("/root/note.txt").write_text("1")
    return Path("note.txt").read_text()


def writes_anywhere(there):
    Path("/opt/deep/er").mkdir(parents=True)
    Path("/opt/deep/er/note.txt").write_text("1")
    Path("/tmp/mine").write_text("1")
    return len(list(Path("/opt").rglob("*")))


def shared_memory(there):
    from multiprocessing import shared_memory as memory

    one = memory.SharedMemory(create=True, size=10)
    one.close()
    one.unlink()


def starts_processes(there):
    code = "import defects, omegaconf, sys; print(sys.prefix)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def is_root(there):
    assert (os.getuid(), str(Path.home()), os.getcwd()) == (0, "/root", "/root")


def uses_a_thread_pool(there):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(len, ["a", "b"]))


def uses_a_process_pool(there):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as pool:
        return list(pool.map(len, ["a"]))


def uses_sqlite(there):
    return sqlite3.connect("/tmp/own.db").execute("select 1").fetchall()


def package_data(there):
    return (HERE.parent / "words.txt").read_text()


def quotes_arrive(there):
    assert os.environ["QUOTED"] == there["quoted"], os.environ["QUOTED"]


def named_secret(there):
    assert os.environ["DEFECTS_KEY"] == "a 'value' = 1"


def volume_with_data(there):
    assert Path("/data/in/numbers.csv").read_text() == "1,2\n"


def volume_at_any_path(there):
    Path("/weights/new.bin").write_bytes(b"1")


def extra_file(there):
    return Path("/etc/defects/numbers.csv").read_text()


def own_loopback(there):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def large_result(there):
    return b"x" * (5 * 2**20)


def tool_of_the_image(there):
    assert Path("/opt/tool").read_text() == "made\n"


def utc(there):
    assert time.tzname[0] == "UTC"


def compiles_a_module(there):
    import py_compile

    Path("/tmp/one.py").write_text("x = 1\n")
    return py_compile.compile("/tmp/one.py", doraise=True)


def certificate_authorities(there):
    import ssl

    assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 50


def shell(there):
    return subprocess.run(
        "set -o pipefail; echo a | tr a b | sed s/b/c/", shell=True, check=True, executable="/bin/bash"
    )


def random_numbers(there):
    return len(os.urandom(8)) + len(Path("/dev/urandom").open("rb").read(4))
