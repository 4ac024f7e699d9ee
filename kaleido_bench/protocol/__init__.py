"""Protocols: what is shown to an adapter, what it is asked for, and how the answer is counted. Frozen and hashed.

A protocol is a YAML file beside a case index. Its hash covers everything that can move a number: the record's fields
(but for `UNHASHED_FIELDS`) and the content of the index, with the sha256 of every image it reads.

`records` is the file as a record, `loaded` a protocol with its cases, `files` finds and reads them.
"""

from kaleido_bench.protocol.files import (
    PendingError,
    ProtocolFile,
    completing_command,
    load_protocol,
    read_protocol,
)
from kaleido_bench.protocol.loaded import (
    ALL_OTHERS,
    UNHASHED_FIELDS,
    LoadedProtocol,
    build_protocol,
    fields_hash,
    hashed_fields,
    protocol_hash,
)
from kaleido_bench.protocol.records import (
    CompletedFrom,
    Dataset,
    ExpectedCounts,
    GivenCameras,
    IndexFile,
    NormalisedCameras,
    PendingIndex,
    Protocol,
    ProtocolName,
    ScaleSweepCameras,
    format_scale,
)

__all__ = [
    "ALL_OTHERS",
    "CompletedFrom",
    "Dataset",
    "ExpectedCounts",
    "GivenCameras",
    "IndexFile",
    "LoadedProtocol",
    "NormalisedCameras",
    "PendingError",
    "PendingIndex",
    "Protocol",
    "ProtocolFile",
    "ProtocolName",
    "ScaleSweepCameras",
    "UNHASHED_FIELDS",
    "build_protocol",
    "completing_command",
    "fields_hash",
    "format_scale",
    "hashed_fields",
    "load_protocol",
    "protocol_hash",
    "read_protocol",
]
