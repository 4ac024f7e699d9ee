"""Records: frozen pydantic models read from YAML or JSON, whose errors name file, line and the nearest known key.

A record is checked strictly: a number written as text, a boolean where an integer belongs, a key nobody knows and a key
written twice are refused, because each of them changes numbers without a word.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from kaleido_bench.errors import BenchError
from kaleido_bench.yaml_lines import ParsedYaml, parse_yaml

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 in lower-case hexadecimal."""

SafePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*$", max_length=200)]
"""A relative path with `/` between its parts, safe on any file system once `refuse_dots` has looked at it too."""

HASH_LENGTH = 12
"""Hexadecimal digits of a hash, where people read it: 48 bits, which no two protocols share by accident."""

RESTORE = "Restore or rewrite it."
"""What to do with a file that is broken and that nothing makes again."""

PATTERNS = {
    r"^[0-9a-f]{64}$": "a sha256: 64 lower-case hexadecimal digits",
    r"^[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*$": "letters, digits and _ . + -, with / between parts",
    r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$": "letters, digits and _ . + -, the first a letter or a digit",
}
"""What patterns of names are, for people."""

LINE_LOOKUP_LIMIT = 2_000_000
"""Bytes. Finding the line of an error in a larger JSON file would take longer than a reader waits."""


class Record(BaseModel):
    """Base of every record on disk: frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RefusedError(ValueError):
    """Raised by a record's own check; carries the parts of a `BenchError` but for its place, which the loader knows."""

    def __init__(self, found: str, *, expected: str, fix: str) -> None:
        self.found, self.expected, self.fix = found, expected, fix
        super().__init__(f"{found}; expected {expected}. {fix}")


RecordT = TypeVar("RecordT", bound=BaseModel)


def canonical_json(value: Any) -> bytes:
    """JSON in the one form that is hashed: keys sorted, no spaces, UTF-8, a newline at the end, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def sha256_hex(data: bytes) -> str:
    """The sha256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def short_hash(sha256: str | None) -> str:
    """The first digits of a hash, for people; `none` where there is none."""
    return "none" if sha256 is None else sha256[:HASH_LENGTH]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when nothing is like it."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def suggest(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """`Did you mean 'x'?` where something is near enough, `otherwise` where nothing is."""
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near else otherwise


def refuse_dots(path: str) -> str:
    """Refuses `.`, `..` and hidden parts in a relative path that will become a path on disk.

    Raises:
        RefusedError: a part begins with a dot.
    """
    if path.startswith(".") or "/." in path:  # an index has hundreds of thousands of ids to look at
        raise RefusedError(
            f"{path!r} has a part that begins with a dot",
            expected="a path that stays below its folder",
            fix="Rename it: it becomes a path on disk.",
        )
    return path


def read_bytes(path: Path, *, what: str, fix: str) -> bytes:
    """Reads a file whole.

    Raises:
        BenchError: it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BenchError(path, "no such file", expected=what, fix=fix) from None
    except OSError as error:
        raise BenchError(path, f"cannot be read ({error.strerror})", expected=what, fix=fix) from None


def load_yaml_record(path: Path, model: type[RecordT], *, what: str, fix: str) -> RecordT:
    """Reads one YAML file as a record.

    Args:
        path: the file.
        model: the record's type.
        what: what the file should be, for the error that says it is missing.
        fix: what to do when it is missing.

    Raises:
        BenchError: the file is missing, is not YAML, or does not fit the record; it names `file:line`.
    """
    return parse_yaml_record(_decode(read_bytes(path, what=what, fix=fix), str(path)), model, where=str(path))


def load_json_record(path: Path, model: type[RecordT], *, what: str, fix: str, broken: str = RESTORE) -> RecordT:
    """Reads one JSON file as a record; raises the errors of `load_yaml_record`. `broken`: what to do when it is cut."""
    return parse_json_record(read_bytes(path, what=what, fix=fix), model, where=str(path), broken=broken)


def parse_yaml_record(text: str, model: type[RecordT], *, where: str) -> RecordT:
    """Parses YAML text as a record; `where` stands for the file in errors."""
    parsed = parse_yaml(text, where)
    if not isinstance(parsed.value, dict):
        kind = "a list" if isinstance(parsed.value, list) else "nothing" if parsed.value is None else "a single value"
        raise BenchError(
            f"{where}:1", f"{kind} at the top", expected="a mapping of keys to values", fix="Write 'key: value' lines."
        )
    try:
        # Through JSON, because there pydantic's strict mode knows that a list is how a file writes a tuple.
        return model.model_validate_json(json.dumps(parsed.value), strict=True)
    except ValidationError as error:
        raise _report(error, model, parsed, where) from None


def parse_json_record(data: bytes, model: type[RecordT], *, where: str, broken: str = RESTORE) -> RecordT:
    """Parses JSON as a record; `where` stands for the file in errors, `broken` is what to do when it is no JSON."""
    value = _read_json(data, where, broken)
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        # JSON is YAML, and the YAML parser knows lines.
        small = len(data) <= LINE_LOOKUP_LIMIT
        parsed = parse_yaml(data.decode(), where) if small else ParsedYaml(value, {})
        raise _report(error, model, parsed, where) from None


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BenchError(
            f"{where}:{line}", "bytes that are not UTF-8", expected="UTF-8 text", fix="Save the file as UTF-8."
        ) from None


def _read_json(data: bytes, where: str, broken: str) -> JsonValue:
    """Reads JSON and refuses what pydantic's parser would let pass: a key written twice."""

    def refuse_repeated(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BenchError(where, f"the key '{twice}' is written twice", expected="each key once", fix="Keep one.")
        return dict(pairs)

    try:
        return json.loads(_decode(data, where), object_pairs_hook=refuse_repeated)
    except json.JSONDecodeError as error:
        raise BenchError(
            f"{where}:{error.lineno}", f"not JSON ({error.msg})", expected="a JSON object", fix=broken
        ) from None


class _Place(NamedTuple):
    line: int | None  # None: the file is too large to look it up
    path: str  # as a reader would write it: `preparation.fit`, `cases[3].scene`


def _locate(parsed: ParsedYaml, location: tuple[int | str, ...]) -> _Place:
    """Where a pydantic location is. Union tags and missing keys, which are not in the file, are passed over."""
    node, steps = parsed.value, ()
    for step in location:
        below = _step_into(node, step)
        if below is not None:
            node, steps = below.value, (*steps, step)
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return _Place(parsed.lines.get(steps), path)


class _Below(NamedTuple):
    value: JsonValue


def _step_into(node: JsonValue, step: int | str) -> _Below | None:
    """What a mapping has under a key, or a list at a position."""
    if isinstance(node, dict) and isinstance(step, str) and step in node:
        return _Below(node[step])
    if isinstance(node, list) and isinstance(step, int) and step < len(node):
        return _Below(node[step])
    return None


def _report(error: ValidationError, model: type[BaseModel], parsed: ParsedYaml, where: str) -> BenchError:
    """The first error of a record as one line. Unknown keys come first: a misspelt key is also a missing one."""
    details = error.errors(include_url=False)
    places = [_locate(parsed, item["loc"]) for item in details]
    order = sorted(range(len(details)), key=lambda i: (details[i]["type"] != "extra_forbidden", places[i].line or 0))
    first, place = details[order[0]], places[order[0]]
    message = _explain(first, place, model)
    # A union reports once per alternative; they are one mistake, with several right answers.
    twins = [i for i in order[1:] if places[i] == place and first["type"] not in ("extra_forbidden", "missing")]
    answers = [message.expected, *(_explain(details[i], places[i], model).expected for i in twins)]
    more = len(order) - 1 - len(twins)
    fix = f"{message.fix} ({more} more {'problems' if more > 1 else 'problem'} after this one)" if more else message.fix
    line = where if place.line is None else f"{where}:{place.line}"
    return BenchError(line, message.found, expected=" or ".join(dict.fromkeys(answers)), fix=fix)


class _Message(NamedTuple):
    found: str
    expected: str
    fix: str


def _explain(detail: ErrorDetails, place: _Place, model: type[BaseModel]) -> _Message:
    """One pydantic error in the words of this project."""
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    context = cast("Mapping[str, Any]", detail.get("ctx", {}))
    own = context.get("error")
    if isinstance(own, RefusedError):
        prefix = f"{place.path}: " if place.path and place.path not in own.found else ""
        return _Message(prefix + own.found, own.expected, own.fix)
    if detail["type"] == "extra_forbidden":
        known = known_keys(model, detail["loc"])
        expected = "a known key" if nearest(key, known) else "one of " + ", ".join(known)
        return _Message(f"unknown key '{key}'", expected, suggest(key, known, otherwise="Remove it."))
    if detail["type"] == "missing" and isinstance(detail["loc"][-1], int):
        return _Message(f"'{place.path}' has {key} values", f"{int(key) + 1} or more of them", "Correct the list.")
    if detail["type"] in ("missing", "union_tag_not_found"):
        missing = key if detail["type"] == "missing" else str(context["discriminator"]).strip("'")
        inside = f" in '{place.path}'" if place.path else ""
        return _Message(f"the key '{missing}' is missing{inside}", f"'{missing}'", "Add it.")
    if detail["type"] in ("literal_error", "enum", "union_tag_invalid"):
        allowed = str(context.get("expected", context.get("expected_tags", "")))
        value = str(context.get("tag", detail["input"]))
        words = [word.strip(" '") for word in allowed.replace(" or ", ", ").split(",")]
        if value in words:  # the right value, of another type
            return _Message(f"'{place.path}' is the text {value!r}", allowed, "Write it without quotes.")
        return _Message(f"'{place.path}' is {value!r}", allowed, suggest(value, words, otherwise="Use one of these."))
    if detail["type"] == "value_error":
        return _Message(f"'{place.path}': {context['error']}", "values that go together", "Correct it.")
    return _Message(f"'{place.path}' is {_show(detail['input'])}", _expected(detail, context), "Correct it.")


def _expected(detail: ErrorDetails, context: Mapping[str, Any]) -> str:
    if detail["type"] == "too_short":
        return f"at least {context['min_length']} in the list"
    if detail["type"] == "tuple_type":
        return "a list"
    if detail["type"] == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"what matches {context['pattern']}")
    return detail["msg"].removeprefix("Input should be ").removeprefix("String should ")


def _show(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys a record knows at the place of a pydantic location (whose last step is the key in question)."""
    candidates: list[type[BaseModel]] = [model]
    for step in location[:-1]:
        fields = [item.model_fields[step].annotation for item in candidates if step in item.model_fields]
        if fields:
            candidates = [found for annotation in fields for found in _models_in(annotation)]
        elif isinstance(step, str):
            candidates = [item for item in candidates if _has_tag(item, step)] or candidates
    return list(dict.fromkeys(name for item in candidates for name in item.model_fields))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    annotations = [field.annotation for field in model.model_fields.values()]
    return any(get_origin(item) is Literal and tag in get_args(item) for item in annotations)
