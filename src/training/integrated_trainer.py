"""The migration memo's path to `atft train`.

python src/training/integrated_trainer.py config=atft/train/production
"""

import sys

from atft_gat_fan.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
