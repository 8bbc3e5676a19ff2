"""What a storage on the network can answer instead of data: which of it may pass, and all of it in words."""

import errno
import re

from atft_gat_fan.errors import AtftError, DataError, Problem, StorageError

LASTING = (
    FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, TypeError,
    ValueError,
)  # fmt: skip
LASTING_NUMBERS = {
    errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EREMCHG,
}  # fmt: skip
"""Of other OSErrors: a request that is wrong, refused or of another region, and a disk that is full."""
OF_CREDENTIALS = re.compile(r"Credential|Profile|SSO|Token(Retrieval|Refresh|Load)|DefaultCredentials|Authentication")
"""Names of what the protocols' packages raise where they find no credentials, or none that they can use."""
PARAMETERS = re.compile(r"\?[^\s'\"<>]+")
MOST_SAID = 300


class MissingRemoteError(DataError):
    """Nothing is at the address, or no longer."""


def may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered later: a lost connection, a busy server, no answer in time."""
    if not isinstance(error, Exception) or isinstance(error, (*LASTING, AtftError)) or _of_credentials(error):
        return False
    return getattr(error, "errno", None) not in LASTING_NUMBERS


def explained(error: Exception, address: str, doing: str) -> AtftError:
    """The error of a request that failed for good; `doing` is what was tried, as `read`."""
    if isinstance(error, AtftError):
        return error
    if isinstance(error, FileNotFoundError) and doing == "write":
        return StorageError(f"{address}: expected a bucket or a folder to write to, found none: {said(error)}; make it")
    if isinstance(error, FileNotFoundError):
        return MissingRemoteError(
            Problem(
                "expected a Parquet file or folder, a CSV file or a built store, found nothing there (404)",
                where=address,
                mend="correct the address; a bucket of a server of your own needs data.remote.endpoint_url",
            )
        )
    if isinstance(error, PermissionError) or _of_credentials(error):
        return StorageError(
            f"{address}: cannot {doing} it, the storage refuses (403) or there are no credentials: {said(error)}; "
            "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from a profile (data.remote.profile) "
            "or from what the protocol's package reads; a public bucket needs data.remote.anon=true"
        )
    return StorageError(
        f"{address}: cannot {doing} it: {said(error)}; correct the address, data.remote.endpoint_url or "
        "data.remote.options"
    )


def said(error: BaseException) -> str:
    """What an error says, on one line, without the parameters of addresses in it, which may be signatures."""
    text = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {PARAMETERS.sub('?…', text)[:MOST_SAID]}"


def _of_credentials(error: BaseException) -> bool:
    return OF_CREDENTIALS.search(type(error).__name__) is not None
