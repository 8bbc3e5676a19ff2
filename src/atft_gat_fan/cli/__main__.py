"""`python -m atft_gat_fan.cli`, the same as `atft`."""

from atft_gat_fan.cli.main import main

main()
