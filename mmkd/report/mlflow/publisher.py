"""Sends records to the store, and lists suites under their parent runs."""

import shlex
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import filelock

from mmkd.core.errors import MmkdError
from mmkd.report.mlflow import experiments, models, sent, store, suites
from mmkd.report.mlflow import runs as store_runs
from mmkd.store.record import Record


def publish(
    runs: Path,
    records: Sequence[Record],
    suite: str | None = None,
    new: list[str] | None = None,
    log_models: bool = False,
) -> str | None:
    """Send records to the store; those of a suite under a parent run with its leaderboard.

    Suites that could not be sent before are sent too, once all their records are among these.

    Args:
        new: gets the keys of the records that the store did not have.
        log_models: whether students become models of their runs.

    Returns:
        None, or one line that says what could not be sent and why. It raises no error of the store.
    """
    students = [record for record in records if models.can_be_logged(record)] if log_models else []
    if not _has_work(runs, records, suite) and not sent.unsent(runs, students, sent.MODEL):
        return None
    problems: list[str] = []
    try:
        with sent.sender_lock(runs), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mlflow and what it imports; no concern of the user
            if suite is not None:
                keys = ",".join(record.key for record in records)
                sent.write_sent(runs, sent.read_sent(runs) | {sent.WANTED + suite: keys})
            Publisher(runs, problems, [] if new is None else new).send(records, suite, students)
    except filelock.Timeout:
        why = "another process is sending and gets nowhere"
    except Exception as error:  # an unreachable, locked or broken store of any kind
        why = store.one_line(error)
    else:
        count = f"{len(problems)} of {len(records)}"
        return f"MLflow: {count} records not sent, the first: {problems[0]}" if problems else None
    missing = len(sent.unsent(runs, records))
    what = f"{missing} of {len(records)} records" if missing else "the summary of a suite"
    flag = "" if str(runs) == "runs" else f" --runs {shlex.quote(str(runs))}"
    return f"MLflow: {what} not sent ({why}); python -m mmkd.bench --publish{flag} sends them"


def _has_work(runs: Path, records: Sequence[Record], suite: str | None) -> bool:
    """Whether anything of these records is missing in the store, as far as the note knows."""
    if sent.unsent(runs, records) or sent.unlisted(runs, records, suite):
        return True
    return None in sent.page_ids(runs, records).values()


class Publisher:
    """Sends what is missing in the store of one runs folder.

    Attributes:
        problems: what is wrong with single records; a line is added for each.
        new: the keys of the records that the store did not have.
    """

    def __init__(self, runs: Path, problems: list[str], new: list[str]) -> None:
        self.runs = runs
        self.problems = problems
        self.new = new
        self.experiments: dict[str, str] = {}

    def send(self, records: Sequence[Record], suite: str | None, students: Sequence[Record] = ()) -> None:
        """Send records that are missing, then models of these students, then list suites under their parent runs."""
        unlogged = sent.unsent(self.runs, students, sent.MODEL)
        if not _has_work(self.runs, records, suite) and not unlogged:  # another process did it in the meantime
            return
        missing = sent.unsent(self.runs, records)
        self.client = store.PatientClient(store.connect(self.runs))
        self.sent = sent.read_sent(self.runs)
        sent.write_sent(self.runs, self.sent)  # to know, before anything is sent, that it can be noted
        for record in missing:
            self._send_record(record)
        for record in unlogged:
            self._log_model(record)
        self._open_pages(records)
        for name, members in sent.unlisted(self.runs, records, suite).items():
            self._send_suite(name, members)

    def _experiment(self, record: Record) -> str:
        name = experiments.experiment_name(record)
        if name not in self.experiments:
            number = experiments.experiment_id(self.client, self.runs, name, record.spec.task)
            self.experiments[name] = number
            self.sent[sent.PAGE + name] = f"{store.without_password(store.default_uri(self.runs))} {number}"
            sent.write_sent(self.runs, self.sent)
        return self.experiments[name]

    def _open_pages(self, records: Sequence[Record]) -> None:
        """Note the experiments of records that were sent before their pages were."""
        unknown = {name for name, number in sent.page_ids(self.runs, records).items() if number is None}
        for record in records:
            if experiments.experiment_name(record) in unknown:
                with suppress(experiments.DeletedExperiment):
                    self._experiment(record)

    def _send_record(self, record: Record) -> None:
        stamp = sent.stamp(record, store.default_uri(self.runs))
        try:
            content = store_runs.read_record(record)
        except Exception as error:  # one damaged record keeps no other from being sent
            self.problems.append(f"{record.key}: {store.one_line(error)}")
            return
        try:
            experiment = self._experiment(record)
            if store_runs.send_record(self.client, experiment, record, content):
                self.new.append(record.key)
        except Exception as error:
            if not (store.refused_by_store(error) or isinstance(error, experiments.DeletedExperiment)):
                raise
            self.problems.append(f"{record.key}: {store.one_line(error)}")
            return
        self.sent[record.key] = stamp
        sent.write_sent(self.runs, self.sent)
        self.client.add_time()

    def _log_model(self, record: Record) -> None:
        stamp = sent.stamp(record, store.default_uri(self.runs))
        try:
            for run in store_runs.existing_runs(self.client, self._experiment(record), record.key)[:1]:
                models.log_model(self.client, run, record)
        except MmkdError as error:  # a deleted experiment, damaged weights
            self.problems.append(f"{record.key}: {store.one_line(error)}")
            return
        self.sent[sent.MODEL + record.key] = stamp
        sent.write_sent(self.runs, self.sent)
        self.client.add_time()

    def _send_suite(self, name: str, records: Sequence[Record]) -> None:
        with self.client.paused():
            content = suites.compare_suite(self.runs, records)
        for record in records:
            try:
                self._experiment(record)
            except experiments.DeletedExperiment as error:
                self.problems.append(f"suite {name}: {error}")
                return
        for experiment in dict.fromkeys(map(experiments.experiment_name, records)):
            members = [record for record in records if experiments.experiment_name(record) == experiment]
            suites.send_suite(
                self.client,
                self._experiment(members[0]),
                suite=name,
                folder=suites.folder_id(self.runs),
                records=members,
                content=content,
            )
        if not self.problems:
            self.sent[sent.SUITE + name] = sent.suite_digest(self.runs, records)
            sent.write_sent(self.runs, self.sent)
