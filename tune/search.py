"""Search hyper-parameters of GAN configs in parallel: ``python tune/search.py [CONFIG ...]``."""

import sys

from minmax_tune.cli import main  # this folder is where Python looks first

if __name__ == "__main__":
    sys.exit(main())
