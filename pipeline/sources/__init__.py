"""Sources of frames: video files, folders of images, VOT-style sequences, a synthetic scene, live."""

from pipeline.sources.base import Role, Source, SourceInfo, SourceOptions
from pipeline.sources.sequence import SequenceFolder, open_sequence, read_ground_truth
from pipeline.sources.uri import open_source
from pipeline.sources.uri_names import display_name, is_live, uri_kind

__all__ = [
    "Role",
    "SequenceFolder",
    "Source",
    "SourceInfo",
    "SourceOptions",
    "display_name",
    "is_live",
    "open_sequence",
    "open_source",
    "read_ground_truth",
    "uri_kind",
]
