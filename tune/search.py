"""Search hyper-parameters of GAN configs in parallel: ``python tune/search.py [CONFIG ...]``."""

import sys

try:
    from minmax_tune.cli import main  # this folder is where Python looks first
except ModuleNotFoundError as error:
    sys.exit(f"tune/search.py: error: {error}: run `make setup` once, and `. .venv/bin/activate` in each shell.")

if __name__ == "__main__":
    sys.exit(main())
