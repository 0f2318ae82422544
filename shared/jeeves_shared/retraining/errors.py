"""The errors of asking for a retraining.

RetrainingError                  the controller did not do what it was asked
├── JenkinsAway                  no answer, or none that can be read; try later
├── JenkinsRefused               the user may not do this
└── PipelineMissing              there is no such job
"""

from jeeves_shared.errors import JeevesError


class RetrainingError(JeevesError):
    """The controller did not do what it was asked."""

    code = "retraining"
    title = "Retraining not started"
    status = 502


class JenkinsAway(RetrainingError):
    """No answer, or none that can be read."""

    code = "jenkins-away"
    title = "Jenkins does not answer"
    status = 503


class JenkinsRefused(RetrainingError):
    """The user may not do this."""

    code = "jenkins-refused"
    title = "Jenkins refused"
    status = 502


class PipelineMissing(RetrainingError):
    """There is no such job."""

    code = "pipeline-missing"
    title = "No such job in Jenkins"
    status = 502
