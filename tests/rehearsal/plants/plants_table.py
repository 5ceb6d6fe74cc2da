"""Planted defects: what each is, and the words that name its cause.

A defect of `JOBS` is a function of `project/src/defects/jobs.py`, which works on the machine where it is written; one
of `ENDS` is such a function with options; `CONFIG` are options, `IMAGES` values of `image`. `FINE` works on Modal.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Plant(NamedTuple):
    """One defect.

    Args:
        name: The function, or a name.
        cause: A pattern of what names the cause.
        options: What it is run with.
    """

    name: str
    cause: str
    options: Mapping[str, Any] = MappingProxyType({})


SENT = "machine this was sent from"

JOBS = [
    Plant("absolute_path", SENT),
    Plant("relative_path", "data/numbers.csv is not in the container; image.files"),
    Plant("beside_the_source", "/data/numbers.csv is not in the container"),
    Plant("folder_without_python", "`src/assets/` has no Python file and is not shipped"),
    Plant("ignored_by_git", "`src/defects/table.ignored` is not shipped: ignored by git"),
    Plant("looks_like_a_secret", "`src/defects/.env` is not shipped: looks like a secret"),
    Plant("home", "home folder of the machine|is not in the container"),
    Plant("home_by_tilde", "is not in the container"),
    Plant("left_in_tmp", "is not in the container: it has nothing of this machine"),
    Plant("config_of_the_checkout", SENT),
    Plant("config_from_where_it_starts", "conf/rates.yaml is not in the container"),
    Plant("list_the_checkout", SENT),
    Plant("change_to_the_checkout", SENT),
    Plant("read_the_pyproject", "pyproject.toml is not in the container"),
    Plant("write_into_the_checkout", SENT),
    Plant("log_into_the_checkout", SENT),
    Plant("rotate_logs_elsewhere", SENT),
    Plant("database_of_the_checkout", SENT),
    Plant("archive_of_the_checkout", SENT),
    Plant("copy_from_the_checkout", SENT),
    Plant("copy_a_tree", SENT),
    Plant("size_of_a_file", SENT),
    Plant("size_by_the_system", "is not in the container"),
    Plant("walk_finds_nothing", SENT),
    Plant("own_temporary_folder", "is not in the container"),
    Plant("interpreter_by_its_path", "the program `.*` is not in the container|machine this was sent from"),
    Plant("script_of_the_checkout", SENT),
    Plant("memory_of_a_file", SENT),
    Plant("socket_of_a_service", "is not in the container|a service of the machine"),
    Plant("link_out_of_the_source", "`src/defects/linked` is not shipped: a link to a folder"),
    Plant("group_dev", "`trustme` is not in the container: here it comes with group `dev`"),
    Plant("group_dev_late", "`_pytest` is not in the container: here it comes with group `dev`"),
    Plant("group_local", "`ipdb` is not in the container: here it comes with group `local`"),
    Plant("declared_nowhere", "`pyte` is not in the container: declare it"),
    Plant("by_its_name", "`hydra_zen` is not in the container: declare it"),
    Plant("inner_module", "`pytest` is not in the container: here it comes with group `dev`"),
    Plant("checked_types", "`mypy` is not in the container"),
    Plant("own_version", "the project `defects` is not installed in a container"),
    Plant("version_of_a_tool", "the distribution `ruff` is not in the container"),
    Plant("path_that_was_added", "`somewhere` is not in the container"),
    Plant("tests_as_a_library", "`tests` is not in the container"),
    Plant("git", r"the program `git` is not in the container; image.apt=\[git\]"),
    Plant("curl", r"the program `curl` is not in the container"),
    Plant("make", r"the program `make` is not"),
    Plant("compiler", r"the program `gcc` is not"),
    Plant("processes", r"image.apt=\[procps\]"),
    Plant("downloader", r"the program `wget` is not in the container"),
    Plant("by_a_shell", "the program `git` is not in the container"),
    Plant("by_check_output", "the program `git` is not in the container"),
    Plant("by_popen", "the program `git` is not in the container"),
    Plant("console_script", "the program `ruff` is not in the container"),
    Plant("own_command", "the program `uv` is not in the container"),
    Plant("variable", "the environment variable DEFECTS_TOKEN is not in the container"),
    Plant("variable_in_a_config", "the environment variable DEFECTS_TOKEN is not in the container"),
    Plant("search_path", "the environment variable DEFECTS_SEARCH_PATH is not in the container"),
    Plant("environment_of_the_project", "the environment variable DEFECTS_VIRTUAL_ENV is not in the container"),
    Plant("child_with_the_variable", "returned non-zero exit status 1"),
    Plant("time_zone", "the time zone is UTC"),
    Plant("language", "LC_ALL is None"),
    Plant("host_name", "this machine is modal"),
    Plant("own_user", "name not found"),
    Plant("process_of_the_sender", "No such process"),
    Plant("process_by_its_number", "is not in the container"),
    Plant("local_service", "a rehearsal's containers have no network"),
    Plant("local_service_by_name", "a rehearsal's containers have no network"),
    Plant("service_by_address", "a rehearsal's containers have no network"),
    Plant("library_of_x", r"image.apt=\[libx11-6\] brings it"),
    Plant("library_of_xml", r"image.apt=\[libxml2\] brings it"),
    Plant("exits", "SystemExit: 7|SystemExit.*7"),
]
"""Those that need no options."""

ENDS = [
    Plant("crash", r"signal 11 \(SIGSEGV\)"),
    Plant("exit_at_once", "exited with code 3"),
    Plant("too_long", "more than 4 s", {"timeout": 4}),
    Plant("too_much_to_return", "result_limit", {"result_limit": 1.0}),
    Plant("too_much_memory", "out of memory", {"memory": (128, 400)}),
    Plant("not_to_be_pickled", "cannot be pickled|cannot pickle"),
]
"""Those that end their container, or need options."""

CONFIG = [
    Plant("64 GPUs", "from 1 to 8 A100", {"gpu": "A100:64"}),
    Plant("no GPU counted", "from 1 to 8 H100", {"gpu": "H100:0"}),
    Plant("8 A10", "from 1 to 4 A10", {"gpu": "A10:8"}),
    Plant("A1000", "did you mean A100", {"gpu": "A1000"}),
    Plant("H10", "did you mean H100", {"gpu": "H10"}),
    Plant("a fallback that is none", "did you mean L40S", {"gpu": ["A100", "L40"]}),
    Plant("us-eeast", "did you mean us-east", {"region": "us-eeast"}),
    Plant("europe", "no region of Modal's", {"region": "europe"}),
    Plant("one of two regions", "no region of Modal's", {"region": ["us-east", "us_west"]}),
    Plant("awss", "did you mean aws", {"cloud": "awss"}),
    Plant("azure", "it is aws, gcp, oci or auto", {"cloud": "azure"}),
    Plant("cpu below nothing", "cpu=-1", {"cpu": -1}),
    Plant("cpu of nothing", "above 0", {"cpu": 0}),
    Plant("500 cores", "at most 64 cores", {"cpu": 500}),
    Plant("cpu limit below request", "below the request", {"cpu": [4, 2]}),
    Plant("cpu of words", "cpu='two'", {"cpu": "two"}),
    Plant("memory below nothing", "memory=-5", {"memory": -5}),
    Plant("a million MiB", "336 GiB", {"memory": 1_000_000}),
    Plant("memory limit below request", "below the request", {"memory": [512, 256]}),
    Plant("memory with a unit", "memory='2GiB'", {"memory": "2GiB"}),
    Plant("10 TiB of disk", "3 TiB", {"ephemeral_disk": 10_000_000}),
    Plant("no time", "from 1 to 86400", {"timeout": 0}),
    Plant("two days", "from 1 to 86400", {"timeout": 172_800}),
    Plant("time with a unit", "from 1 to 86400", {"timeout": "1h"}),
    Plant("nonpreemptible with a GPU", "not possible with a GPU", {"gpu": "T4", "nonpreemptible": True}),
    Plant("retries below nothing", "0 or more", {"retries": -1}),
    Plant("a window of a second", "from 2 to 3600", {"scaledown_window": 1}),
    Plant("no containers", "1 or more", {"max_containers": 0}),
    Plant("memry", "did you mean 'memory'", {"memry": 512}),
    Plant("regoin", "did you mean 'region'", {"regoin": "us-east"}),
    Plant("isolated=sandbx", "sandbox", {"isolated": "sandbx"}),
    Plant("secrets as a text", "a list of names", {"secrets": "huggingface"}),
    Plant("env as a list", "a mapping", {"env": ["A=1"]}),
    Plant("pull of words", "pull='all'", {"pull": "all"}),
    Plant("results of no size", "result_limit", {"result_limit": -1}),
    Plant("network of words", "true or false", {"network": "on"}),
]
"""What Modal, or this package, would refuse."""

OPENED = [
    Plant("a secret nobody has", "absent.env", {"secrets": ["absent"]}),
    Plant("a variable nobody has", "NOBODY_SET_THIS", {"pass_env": ["NOBODY_SET_THIS"]}),
    Plant("a volume at /", "/", {"volumes": {"/": "data"}}),
    Plant("a volume at /root", "/root", {"volumes": {"/root": "data"}}),
    Plant("a volume at no absolute path", "data", {"volumes": {"data": "data"}}),
    Plant("a volume twice", "same|twice|multiple", {"volumes": {"/a": "data", "/b": "data"}}),
]
"""What is refused when a function is defined."""

IMAGES = [
    Plant("a misspelt package of Debian", "ffmpegg", {"apt": ("ffmpegg",)}),
    Plant("a command that fails", "exited with code 3", {"run": ("echo before; exit 3",)}),
    Plant("a command that is not there", "conver", {"run": ("conver a b",)}),
    Plant("a command that needs a file of the checkout", "data/numbers.csv", {"run": ("cp data/numbers.csv /opt/",)}),
    Plant("a command that needs sudo", "sudo", {"run": ("sudo true",)}),
    Plant("a script with an error", "NameError", {"run": ('python -c "print(nothing)"',)}),
    Plant("a module of group dev", "trustme", {"run": ('python -c "import trustme"',)}),
    Plant("a directory that is not there", "nowhere", {"run": ("cd /nowhere && ls",)}),
    Plant("a file that is not there", "image.files: absent.csv", {"files": (("absent.csv", "/data/absent.csv"),)}),
    Plant("a file at no absolute path", "no absolute path", {"files": (("data/numbers.csv", "data/numbers.csv"),)}),
    Plant("a secret as a file", "looks like a secret", {"files": ((".env", "/root/.env"),)}),
    Plant("source that is not there", "image.source: absent", {"source": ("absent",)}),
    Plant("a builder that is not there", "image.builder", {"builder": "defects.images.absent"}),
    Plant("a builder that returns nothing", "return image", {"builder": "defects.images.forgets"}),
    Plant("a builder whose step fails", "exited with code 5", {"builder": "defects.images.fails"}),
    Plant("another Python", "image.python", {"python": "3.8"}),
    Plant("a group that is not there", "did you mean 'dev'", {"exclude_groups": ("deev",)}),
]
"""What cannot be built."""

FINE = [
    *("fine", "writes_below_root", "writes_anywhere", "shared_memory", "starts_processes", "is_root", "nobody"),
    *("uses_a_thread_pool", "uses_a_process_pool", "uses_sqlite", "package_data", "quotes_arrive", "named_secret"),
    *("volume_with_data", "volume_at_any_path", "extra_file", "own_loopback", "large_result", "tool_of_the_image"),
    *("utc", "compiles_a_module", "certificate_authorities", "shell", "random_numbers"),
]
"""What works on Modal, and must work in a rehearsal."""
