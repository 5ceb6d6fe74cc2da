"""The process of one job: `python -m mini_solo.worker FOLDER`."""

import os
import pickle
import sys
from pathlib import Path

from mini.worker import execution

folder = Path(sys.argv[1])
shared, call = pickle.loads((folder / "job").read_bytes())
outcome = execution.execute(shared, pickle.loads(call), where={"label": os.environ["SOLO_LABEL"]})
(folder / "written").write_bytes(pickle.dumps(outcome))
(folder / "written").rename(folder / "outcome")
