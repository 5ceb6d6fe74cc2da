"""`python -m mini.cli`."""

import sys

from mini.cli.main import main

sys.exit(main())
