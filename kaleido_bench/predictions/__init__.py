"""The folder where predicting and scoring meet: its layout, and whether what is there is right.

    runs/<protocol>/<model>/
        run.json                          what was run, with what, and how often it was continued
        protocol.json                     protocol and index in canonical form: the run can be re-scored by itself
        predictions/<item>/<view>.png     8-bit RGB at the prepared size
        predictions/<item>/case.json      seed, seconds, adapter, and the sha256 of each PNG
        scores/<convention>.parquet       one row a view and metric
        result.json                       the product
        efficiency.json                   what predicting took: beside the result, since two honest runs differ in it

A prediction folder is there whole or not at all. Nothing in it is believed without its hash.

`records` is what its JSON files hold, `runs` the folder and its parts, `images` one prediction written and read,
`checking` whether it is right.
"""

from kaleido_bench.predictions.checking import PredictionState, check_manifest, check_prediction, unexpected_items
from kaleido_bench.predictions.images import (
    load_predicted_view,
    load_prediction,
    load_prediction_record,
    write_prediction,
)
from kaleido_bench.predictions.records import AdapterRecord, Cost, MemoryKind, PredictionRecord, RunRecord, Session
from kaleido_bench.predictions.runs import (
    Run,
    append_session,
    create_run,
    find_runs,
    load_run_protocol,
    name_finish,
    open_run,
    run_folder,
)

__all__ = [
    "AdapterRecord",
    "Cost",
    "MemoryKind",
    "PredictionRecord",
    "PredictionState",
    "Run",
    "RunRecord",
    "Session",
    "append_session",
    "check_manifest",
    "check_prediction",
    "create_run",
    "find_runs",
    "load_predicted_view",
    "load_prediction",
    "load_prediction_record",
    "load_run_protocol",
    "name_finish",
    "open_run",
    "run_folder",
    "unexpected_items",
    "write_prediction",
]
