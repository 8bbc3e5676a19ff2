"""`python -m atft_gat_fan.cli` is the tool where its script is not on the PATH."""

from atft_gat_fan.cli.main import main

if __name__ == "__main__":
    main()
