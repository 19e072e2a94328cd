"""The MLflow store: where it is, how it is reached, and how long it may take.

No store is waited for without end: 10 s a request and two more tries, a minute at a lock, and 30 s in all with 5 s more
for each record that was sent. `MLFLOW_HTTP_REQUEST_TIMEOUT` scales these, where the user sets it.
"""

import logging
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from mmkd.core.errors import MmkdError

CONNECT_TIMEOUT = 10.0  # seconds for a database to open
SETTINGS = {  # of mlflow, each as the user has it where it is set
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def default_uri(runs: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite store in the runs folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def shown_uri(runs: Path) -> str:
    """The store as a user types it, but for a password: relative where the runs folder was given so."""
    return without_password(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs / 'mlflow.db'}")


def database_of(uri: str) -> Path | None:
    """The file of a SQLite store; None of another one."""
    return Path(uri.removeprefix("sqlite:///").split("?")[0]) if uri.startswith("sqlite:///") else None


def without_password(text: str) -> str:
    """An address, or a text with addresses, without names and passwords of users."""
    return re.sub(r"//[^/\s@]*@", "//", text)


def one_line(error: Exception) -> str:
    """One line for an exception of the store, without its SQL and passwords."""
    text = without_password(" ".join(str(error).split("[SQL:")[0].split()))
    return text if isinstance(error, MmkdError) else f"{type(error).__name__}: {text[:200]}"


def refused_by_store(error: Exception) -> bool:
    """Whether the store works, and only does not want this record."""
    status = getattr(error, "get_http_status_code", None)
    return status is not None and status() in (400, 404, 409)


class PatientClient:
    """A client whose calls raise TimeoutError once its store has used up its time."""

    def __init__(self, client: Any) -> None:
        name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
        try:
            self._request_timeout = float(os.environ.get(name, SETTINGS[name]))
        except ValueError:
            raise MmkdError(f"{name}={os.environ[name]} is no number of seconds") from None
        self._client = client
        self._end = time.monotonic() + 3 * self._request_timeout

    def add_time(self) -> None:
        """Something was sent: what is left has more time."""
        self._end += self._request_timeout / 2

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Work of our own, which does not count against the store's time."""
        started = time.monotonic()
        yield
        self._end += time.monotonic() - started

    def __getattr__(self, name: str) -> Any:
        if time.monotonic() > self._end:
            raise TimeoutError("the store is too slow; MLFLOW_HTTP_REQUEST_TIMEOUT, in seconds, gives it more time")
        return getattr(self._client, name)


def connect(runs: Path) -> Any:
    """A client of the store of a runs folder; a new database is made first, and takes its place when it is whole."""
    uri = default_uri(runs)
    check_reachable(uri)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow", "sqlalchemy", "urllib3"):  # after the import, which sets levels of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (runs / "mlflow.db").exists():
        for unfinished in runs.glob(".mlflow-new-*"):
            unfinished.unlink()
        new = runs.resolve() / f".mlflow-new-{uuid4().hex}.db"  # an unfinished one could never be used
        MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
        os.replace(new, runs / "mlflow.db")
    return MlflowClient(tracking_uri=uri)


def check_reachable(uri: str) -> None:
    """Try a database that mlflow itself would try to open for minutes.

    Raises:
        OSError: it does not answer.
        MmkdError: it is locked, damaged, or cannot be written.
    """
    url = urlsplit(uri)
    port = PORTS.get(url.scheme.split("+")[0])
    if port is not None and url.hostname:
        socket.create_connection((url.hostname, url.port or port), timeout=CONNECT_TIMEOUT).close()
    database = database_of(uri)
    if database is None or not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=CONNECT_TIMEOUT, isolation_level=None)) as database_connection:
            database_connection.execute("BEGIN IMMEDIATE")
            database_connection.execute("SELECT count(*) FROM sqlite_master")
            database_connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise MmkdError(f"{database}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise MmkdError(f"{database}: {error}; move it away, and all is sent to a new one") from error


def pages(search: Any, **query: Any) -> Iterator[Any]:
    """Everything that a search of the client returns, page by page."""
    token = None
    while True:
        page = search(**query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
