"""The migration memo's smoke test: exits with 0 when a tiny model trains a step, is saved, loaded, and predicts."""

import sys

from atft_gat_fan.cli.main import main

if __name__ == "__main__":
    main(["smoke", *sys.argv[1:]])
