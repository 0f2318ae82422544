"""Errors of the curator, below `JeevesError`.

JeevesError
└── DatasetTooSmall      too few usable pairs or documents for a training and an evaluation part
"""

from jeeves_shared.errors import JeevesError


class DatasetTooSmall(JeevesError):
    """Too little is left for a data set."""

    code = "dataset-too-small"
    title = "Data set too small"
    status = 422
