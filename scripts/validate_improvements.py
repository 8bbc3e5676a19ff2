"""The migration memo's path to `atft validate`.

python scripts/validate_improvements.py --config configs/atft/config.yaml
python scripts/validate_improvements.py --full-test
"""

import sys

from atft_gat_fan.cli.main import main

if __name__ == "__main__":
    main(["validate", *sys.argv[1:]])
