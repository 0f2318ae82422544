"""The error tree of the shared package.

JeevesError                      a condition with a name, an HTTP status and a remedy
├── SettingsError                wrong configuration, all mistakes at once
├── RecipeError                  a recipe that cannot be used, all mistakes at once
├── NotFound                     no such job, manifest or artifact
├── Conflict                     the request contradicts the state of the resource
├── Unauthorized / Forbidden     no key, or a key without the scope
├── NotReady                     a dependency is missing; try later
├── ArtifactCorrupt              bytes differ from their sha256
├── StorageFull                  no space left in the artifact store or the data folder
├── SourceUnusable               an unreadable or empty source, or one without a usable document
└── JobCancelled                 raised inside a job's process when it was asked to stop

Services add their own below `JeevesError`. Every one becomes `application/problem+json` at the edge
(`jeeves_shared.service`) or the `error` of a job (`jeeves_shared.jobs.worker`).
"""

from typing import ClassVar

from jeeves_shared.contracts.problems import Problem


class JeevesError(Exception):
    """A condition that has a name and a remedy.

    Args:
        detail: one or two sentences for a person that say what is wrong and what to do.
        errors: every single mistake, when there are several.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    def problem(self, instance: str = "") -> Problem:
        """The error as a body for a client."""
        return Problem(
            type=f"urn:jeeves:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
        )


class SettingsError(JeevesError):
    """Wrong configuration; the process does not start."""

    code = "settings"
    title = "Wrong configuration"
    status = 500


class RecipeError(JeevesError):
    """A recipe that cannot be used as it is."""

    code = "recipe"
    title = "Recipe refused"
    status = 422


class NotFound(JeevesError):
    """No such resource."""

    code = "not-found"
    title = "Not found"
    status = 404


class Conflict(JeevesError):
    """The request contradicts the state of the resource."""

    code = "conflict"
    title = "Conflict"
    status = 409


class Unauthorized(JeevesError):
    """No key, or an unknown one."""

    code = "unauthorized"
    title = "Key required"
    status = 401


class Forbidden(JeevesError):
    """The key lacks the scope."""

    code = "forbidden"
    title = "Not allowed with this key"
    status = 403


class NotReady(JeevesError):
    """A dependency is missing."""

    code = "not-ready"
    title = "Not ready"
    status = 503


class ArtifactCorrupt(JeevesError):
    """The bytes of an artifact differ from its sha256."""

    code = "artifact-corrupt"
    title = "Artifact corrupt"
    status = 500


class StorageFull(JeevesError):
    """No space left."""

    code = "storage-full"
    title = "No space left"
    status = 507


class SourceUnusable(JeevesError):
    """A source that cannot be read, is empty, or holds no usable document."""

    code = "source-unusable"
    title = "Source unusable"
    status = 422


class JobCancelled(JeevesError):
    """The job was asked to stop."""

    code = "job-cancelled"
    title = "Cancelled"
    status = 409
