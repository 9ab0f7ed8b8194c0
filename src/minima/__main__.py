"""``python -m minima``: the same as the console script ``minima``."""

import sys

from minima.cli import main

sys.exit(main())
