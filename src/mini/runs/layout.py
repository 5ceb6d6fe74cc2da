"""The file names of a run folder.

<run>/run.json              the manifest: what was asked
<run>/jobs.jsonl            a line for each job: its index, folder, key and overrides
<run>/records/*.jsonl       the same records, many to a file, where a file for each is slow to read (a Modal volume)
<run>/code.json             what made the results: by the fingerprint in a job's key, a digest of each file
<run>/driver.json           where a detached run goes on
<run>/driver.pkl            the encoded jobs of a detached run
<run>/driver.log            what its driver printed
<run>/study.journal         the trials of a study, in a journal of Optuna's
<run>/study.json            how the study goes: its best trial
<run>/retry.log             what a retry printed that was begun from `mini ui`
<run>/notes.json            tags and a note, by a person
<run>/cancel                somebody wants the run to stop
<run>/waiting.json          why jobs wait, as the engine's queue says; a cache that may vanish
<run>/slurm/                what the tasks of a run on Slurm need, while it goes on
<run>/code/                 the source as it was when the run began, where jobs run from a copy
<run>/<job>/record.json     the outcome: one line, written once, at the end
<run>/<job>/prune           the job shall end early
<run>/<job>/live.json       how far the job is; a cache that may vanish
<run>/<job>/history.csv     what it said of its metrics, a row for each call of `progress`
<run>/<job>/value.pkl       the returned value, where it is too large for the record
<run>/<job>/log.txt         stdout, stderr and logging, as it happened
<run>/<job>/metrics.parquet a table the job wrote, if it wrote one
<run>/results.parquet       one row for each job
<run>/report.html           the same and more, to be looked at
"""

VERSION = 1
"""The version of the format. A folder of a newer one is refused."""

RUN = "run.json"
JOBS = "jobs.jsonl"
RECORD = "record.json"
LIVE = "live.json"
LOG = "log.txt"
HISTORY = "history.csv"
TABLE = "metrics.parquet"
RESULTS = "results.parquet"
REPORT = "report.html"
VALUE = "value.pkl"
RECORDS = "records"
CANCEL = "cancel"
STUDY = "study.journal"
STUDY_STATE = "study.json"
PRUNE = "prune"
HOME = ".home.tar.gz"
"""What a container packs for its client to fetch; on a volume only."""
CODE = "code.json"
WAITING = "waiting.json"
SNAPSHOT = "code"
NOTES = "notes.json"
DRIVER = "driver.json"
PARCELS = "driver.pkl"
DRIVER_LOG = "driver.log"
RETRY_LOG = "retry.log"
MULTIRUN = "multirun.yaml"
"""Written by Hydra's sweeper."""

RUN_FILES = (RUN, JOBS, RESULTS, MULTIRUN)
"""A folder with one of these has been used by a run."""
