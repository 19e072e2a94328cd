"""MLflow as a view of the records: the only package that imports mlflow.

Records come first: whatever happens to the store, units end and their records stay; what is missing is sent later by
`--publish`. `publisher` sends, `download` reads records back; `store` connects, `sent` remembers what the store has.
Nothing here imports mlflow before there is something to send.
"""

from mmkd.report.mlflow.download import fetch
from mmkd.report.mlflow.links import where_to_look
from mmkd.report.mlflow.publisher import publish
from mmkd.report.mlflow.sent import unsent
from mmkd.report.mlflow.store import default_uri, shown_uri
from mmkd.report.mlflow.suites import command_name

__all__ = ["command_name", "default_uri", "fetch", "publish", "shown_uri", "unsent", "where_to_look"]
