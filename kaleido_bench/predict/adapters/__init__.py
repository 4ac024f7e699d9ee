"""Methods behind one interface. `interface` says what a method is given and answers; `registry` finds it by name."""

from kaleido_bench.predict.adapters.interface import (
    Adapter,
    AdapterCard,
    Capabilities,
    ReferenceViews,
    SceneAdapter,
    TargetCameras,
    build_card,
)
from kaleido_bench.predict.adapters.registry import (
    ADAPTERS,
    AdapterEntry,
    ModelName,
    build_adapter,
    find_adapters,
    label_model,
    parse_model_name,
    resolve_model,
)

__all__ = [
    "ADAPTERS",
    "Adapter",
    "AdapterCard",
    "AdapterEntry",
    "Capabilities",
    "ModelName",
    "ReferenceViews",
    "SceneAdapter",
    "TargetCameras",
    "build_adapter",
    "build_card",
    "find_adapters",
    "label_model",
    "parse_model_name",
    "resolve_model",
]
