"""`python -m minivid` is the command line."""

import sys

from minivid.cli import main

sys.exit(main())
