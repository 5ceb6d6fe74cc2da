"""The exceptions of this package.

MiniError
├── UsageError                 refused before anything started or cost money
│   ├── OptionError            an option that is unknown or has an impossible value
│   ├── UnpicklableError       a function or an argument that cannot travel to where it would run
│   └── RunFolderError         a run folder that exists already, cannot be written, or is not there
│       └── NoSuchRun          no run, or more than one, is called that
├── CloudError                 Modal did not do what was asked
│   ├── TokenError             there is no token, or it was refused
│   ├── ConnectionRefused      the server cannot be reached; says whether it is DNS, proxy, TLS or refusal
│   ├── ImageError             an image could not be built
│   └── VolumeError            a volume is not there, or does not do what was asked
├── ResultTooLarge             a job returned more than may travel
├── StorageError               a run folder's disk is full, or it cannot be written any more
├── RecordError                a file of a run folder that is damaged
├── Pruned                     raised in a job that is to end early; in `mini.job`
└── JobError                   a job that came back without a value; in `mini.job`, with its subclasses
"""

from __future__ import annotations

from collections.abc import Iterable


class MiniError(Exception):
    """Base of every exception this package raises on purpose."""


class UsageError(MiniError):
    """The input is wrong; nothing was started."""


class OptionError(UsageError, ValueError):
    """An option is unknown or its value is impossible."""


class UnpicklableError(UsageError, TypeError):
    """A function or an argument cannot be pickled; the message says which part and where it hangs."""


class RunFolderError(UsageError):
    """A run folder exists already, cannot be written, or is not there."""


class NoSuchRun(RunFolderError):
    """No run, or more than one, is called that."""


class CloudError(MiniError):
    """Modal did not do what was asked."""


class TokenError(CloudError):
    """There is no token for Modal, or it was refused."""


class ConnectionRefused(CloudError):
    """Modal's server cannot be reached."""


class ImageError(CloudError):
    """An image could not be built."""


class VolumeError(CloudError):
    """A volume is not there, or does not do what was asked."""


class ResultTooLarge(MiniError):
    """A job returned a value larger than may travel; it belongs in the job's folder."""


class StorageError(MiniError):
    """A run folder cannot be written any more, as its disk is full; what was written before is kept."""


class RecordError(MiniError):
    """A file of a run folder is damaged; the message names it."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Say which of `valid` are near `word`, and what all of them are.

    Args:
        word: What was written.
        valid: The words that would have been right.

    Returns:
        A clause such as `did you mean 'workers'? Valid: retries, timeout, workers`.
    """
    names = sorted(valid)
    import difflib  # only where there is a mistake

    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    guess = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"{guess}Valid: {', '.join(names)}"
