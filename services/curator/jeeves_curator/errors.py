"""Errors of the curator, below `JeevesError`.

JeevesError
├── DatasetTooSmall      too few usable pairs or documents for a training and an evaluation part
├── ClusterUnusable      datatrove, the collection or the recipe cannot be read
├── TeacherUnavailable   the model that proposes pairs does not answer
└── RedactionIncomplete  a secret or a personal item is left in what would go out
"""

from jeeves_shared.errors import JeevesError


class DatasetTooSmall(JeevesError):
    """Too little is left for a data set."""

    code = "dataset-too-small"
    title = "Data set too small"
    status = 422


class ClusterUnusable(JeevesError):
    """What `python -m jeeves_curator.cluster` was given does not do."""

    code = "cluster-unusable"
    title = "Cluster unusable"
    status = 422


class RedactionIncomplete(JeevesError):
    """The last look found something that must not go out."""

    code = "redaction-incomplete"
    title = "Redaction incomplete"
    status = 500


class TeacherUnavailable(JeevesError):
    """The model that proposes pairs does not answer; the job goes on without it."""

    code = "teacher-unavailable"
    title = "Teacher unavailable"
    status = 503
