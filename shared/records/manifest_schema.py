"""The schema of manifest.json: a check (files/schema.py) for every field."""

from shared import choices
from shared.files import schema
from shared.models.names import is_name

FORMAT_VERSION = 2
ORDERS = {"zarr": "source", "webdataset": "permuted"}  # in version 2
HOLDS_PIXELS = frozenset({"webdataset"})  # formats that store the views' pixels
MOST_VIEWS = 10_000
MOST_BLOCKS = 10_000_000  # of all views together
MOST_STAGES = 64
MOST_NUMBERS = 10_000_000  # per sample, of one kind

_SOURCE = schema.record(
    {
        "spec": schema.text,
        "samples": schema.integer(1, 10**8),
        "digest": schema.sha256,
        "classes": schema.many(schema.text, 1, 10**6),
    }
)

_TEACHER = {
    "architecture": schema.one_of(choices.ARCHITECTURES),
    "stem": schema.one_of(choices.STEMS),
    "classes": schema.integer(1, 10**6),
    "channels": schema.many(schema.integer(1, 10**6), 3, 4),
    "weights": schema.text,
    "sha256": schema.sha256,
    "head_sha256": schema.sha256,
}


def _network_name(value: object, name: str) -> None:
    if not is_name(value):
        raise ValueError(f"{name} must be the name of a network: got {str(value)[:60]!r}")


_ANY_TEACHER = schema.record(
    {
        **_TEACHER,
        "architecture": _network_name,
        "channels": schema.many(schema.integer(1, 10**6), 1, MOST_STAGES),
    },
    optional={
        "embedding": schema.integer(1, 10**6),
        "linear": schema.boolean,
        "signed": schema.boolean,
        "stage_modules": schema.many(schema.text, 0, MOST_STAGES),
        "class_map": schema.many(schema.integer(0, 10**6), 1, 10**6),
        "rows": schema.one_of(("near",)),
    },
)

_FACTS: dict[str, schema.Check] = {
    "format_version": schema.integer(1, FORMAT_VERSION),
    "cache_id": schema.digest(12),
    "format": schema.one_of(choices.FORMATS),
    "split": schema.text,
    "source": _SOURCE,
    "policy": schema.one_of(choices.POLICIES),
    "size": schema.integer(1, 4096),
    "seed": schema.integer(0, 2**63 - 1),
    "views": schema.integer(1, MOST_VIEWS),
    "interpolation": schema.text,
    "antialias": schema.boolean,
    "decoder": schema.text,
    "mean": schema.many(schema.number(-1000, 1000), 3, 3),
    "std": schema.many(schema.number(0, 1000), 3, 3),
    "teacher": schema.record(_TEACHER),
    "precision": schema.one_of(choices.TEACHER_PRECISIONS),
    "codec": schema.one_of(choices.CODECS),
    "codec_version": schema.integer(1, 10**6),
    "block": schema.integer(1, 2**31 - 1),
    "versions": schema.mapping(schema.text, schema.text),
}

VERSION_1 = schema.record(_FACTS)

VERSION_2 = schema.record(
    {
        **_FACTS,
        "teacher": _ANY_TEACHER,
        "order": schema.one_of(ORDERS.values()),
        "converted_from": schema.one_of((None, "half")),
    },
    optional={
        "statistics": schema.one_of(("batch",)),
        "teacher_batch": schema.integer(2, 10**6),
        "crop": schema.number(0, 1),
        "targets": schema.many(schema.text, 0, 2),
        "added": schema.mapping(schema.text, schema.many(schema.integer(1, 10**7), 1, 4)),
        "augment": schema.text,
    },
)
