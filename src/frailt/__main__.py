"""`python -m frailt`: the command line."""

import sys

from frailt.cli import main

sys.exit(main())
