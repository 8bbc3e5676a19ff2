"""Copies what is at an address, and says where it is; told to hang, does so in the middle of the download."""

import sys
import time
from pathlib import Path

from atft_gat_fan.config.schema import DataConfig
from atft_gat_fan.data import remote_download, remote_files
from atft_gat_fan.data.remote import local_copy


def main(address: str, cache: str, hang: bool) -> None:
    remote_files.CHUNK_BYTES = remote_download.CHUNK_BYTES = 1 << 16

    def progress(name: str, share: float) -> None:
        if name.startswith("waiting"):
            print("waiting", flush=True)
        elif name.startswith("downloading"):
            print("downloading", flush=True)
            if hang and share > 0.5:
                print("hanging", flush=True)
                time.sleep(600)

    copy = local_copy(DataConfig(source=address, cache=cache), progress)
    print(f"copy {copy}", flush=True)
    print(sum(file.stat().st_size for file in Path(copy).iterdir()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] == "hang")
