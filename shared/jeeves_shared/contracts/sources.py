"""The sources of a collect recipe: a discriminated union on `type`.

Written by people in `training-jobs/collect/`, read by the collector. No secret stands here: credentials are looked up
by the address that they belong to, in a file that only the collector reads.
"""

from typing import Annotated, Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract

SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", description="First part of each `source_path`.")]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s/@]+(?:/\S*)?$")]


class TreeSource(Contract):
    """A folder, git repository, git bundle or archive of AsciiDoc and Markdown files; HTML where `include` names it."""

    type: Literal["tree"] = "tree"
    name: SourceName
    location: str = Field(
        description="Folder; git address (`https://…`, `git@…`, `file://…`, `….git`); git bundle (`….bundle`); "
        "archive (`….zip`, `….tar`, `….tar.gz`, `….tgz`, `….tar.bz2`, `….tar.xz`)."
    )
    include: tuple[str, ...] = Field(default=("**/*.adoc", "**/*.asciidoc", "**/*.md", "**/*.markdown"))
    exclude: tuple[str, ...] = ()
    licence: str = "NOASSERTION"
    author: str = ""
    address: str = Field(
        default="", description="Public address of the tree; documents are addressed below it. Empty: none."
    )
    layout: Literal["auto", "plain", "antora", "site"] = Field(
        default="auto", description="`site`: awestruct or Jekyll. `auto` tells Antora and whole repositories of both."
    )


class PairsSource(Contract):
    """A file of questions and answers: JSON Lines of pairs, or CSV with `question,answer,source_path`."""

    type: Literal["pairs"] = "pairs"
    name: SourceName
    location: str = Field(description="File, or folder of files.")
    licence: str = "NOASSERTION"
    author: str = ""


class QuestionColumns(Contract):
    """Names of the columns (or JSON fields) of a file of questions. An empty name: there is no such column."""

    id: str = "id"
    title: str = "title"
    question: str = "question"
    answer: str = "answer"
    accepted: str = "is_best"
    score: str = "score"
    author: str = "author"
    url: str = "url"
    tags: str = "tags"
    source_path: str = "source_path"


class QuestionsSource(Contract):
    """Questions with answers from CSV, JSON Lines, JSON, XLSX or Parquet, as documents and as pairs."""

    type: Literal["questions"] = "questions"
    name: SourceName
    location: str = Field(description="File, or folder of files.")
    layout: Literal["auto", "columns", "alpaca", "sharegpt", "messages", "four-column"] = Field(
        default="auto", description="`four-column`: `title,question,reply,is_best`, one row for each reply."
    )
    columns: QuestionColumns = QuestionColumns()
    pairs: bool = Field(default=True, description="Also give each question with its best answer as a pair.")
    licence: str = "NOASSERTION"
    author: str = ""


class FeedbackSource(Contract):
    """Feedback that reviewers released: JSON Lines of `FeedbackItem`, the gateway's export."""

    type: Literal["feedback"] = "feedback"
    name: SourceName
    location: str = Field(description="File, or folder of files.")
    licence: str = "NOASSERTION"


class _Remote(Contract):
    """What all sources that speak HTTP have."""

    requests_per_second: float = Field(default=1.0, gt=0, le=50, description="To each host.")
    requests_per_day: int = Field(default=0, ge=0, description="To each host, counted from 00:00 UTC; 0: no bound.")
    allow_private: bool = Field(default=False, description="Whether hosts on private networks may be spoken to.")


class DiscourseSource(_Remote):
    """Topics of a Discourse forum, with all posts, likes and the accepted answer."""

    type: Literal["discourse"] = "discourse"
    name: SourceName
    address: WebAddress
    categories: tuple[Annotated[str, Field(pattern=r"^[\w/-]+/\d+$")], ...] = Field(
        default=(), description="As `slug/id`, from the address of the category; empty: the whole forum."
    )
    tags: tuple[Annotated[str, Field(pattern=r"^[\w.-]+$")], ...] = Field(
        default=(), description="Topics with any of these; empty: all."
    )
    solved_only: bool = False
    posts_max: int = Field(default=500, ge=1, description="Of one topic; later ones are left out.")
    relist_days: int = Field(
        default=30, ge=1, description="After so long everything is listed, to find removed topics."
    )
    licence: str = "NOASSERTION"


class StackExchangeApiSource(_Remote):
    """Questions of Stack Exchange sites through the API 2.3."""

    type: Literal["stackexchange-api"] = "stackexchange-api"
    name: SourceName
    address: WebAddress = "https://api.stackexchange.com/2.3"
    sites: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")], ...] = Field(default=("stackoverflow",), min_length=1)
    tags: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.#+-]+$")], ...] = Field(
        min_length=1, description="Questions with any of these."
    )
    score_min: int = 0
    accepted_only: bool = False
    page_size: int = Field(default=100, ge=1, le=100)
    relist_days: int = Field(
        default=30,
        ge=1,
        description="After so long every known question is asked for, 100 in a request, to find removed ones.",
    )


class StackExchangeFileSource(Contract):
    """Questions of a Stack Exchange site from a file: `Posts.xml` of the dump, or the CSV of a Data Explorer query."""

    type: Literal["stackexchange-file"] = "stackexchange-file"
    name: SourceName
    location: str = Field(description="`Posts.xml`, or a CSV file whose columns are named as those of the table Posts.")
    site_address: WebAddress = Field(default="https://stackoverflow.com", description="For links and attribution.")
    tags: tuple[str, ...] = Field(default=(), description="Questions with any of these; empty: all.")
    score_min: int = 0
    accepted_only: bool = False


class PluginsSource(_Remote):
    """Plugins of an update centre, with their documentation."""

    type: Literal["plugins"] = "plugins"
    name: SourceName
    address: WebAddress = "https://updates.jenkins.io/current/update-center.actual.json"
    documentation_address: str = Field(
        default="https://plugins.jenkins.io/api/plugin/",
        pattern=r"^(?:https?://[^\s/@]+/\S*)?$",
        description="Of the plugin site's API; the plugin's name is added. Empty: no documentation.",
    )
    page_address: str = Field(default="https://plugins.jenkins.io/", description="Of the page that a citation opens.")
    plugins: tuple[str, ...] = Field(default=(), description="Names; empty: all.")
    licence: str = "NOASSERTION"


class JenkinsSource(_Remote):
    """A live controller, read only: version, plugins, jobs, Jenkinsfiles, and the logs of failed builds."""

    type: Literal["jenkins"] = "jenkins"
    name: SourceName
    address: WebAddress
    requests_per_second: float = Field(default=5.0, gt=0, le=50)
    folders: tuple[str, ...] = Field(default=(), description="Full names of folders or jobs; empty: all.")
    failed_builds_max: int = Field(default=5, ge=0, le=100, description="Newest failed or unstable builds of each job.")
    log_bytes_max: int = Field(
        default=262_144, ge=4096, description="Of each log; from a longer one, the beginning and the end are kept."
    )
    licence: str = "NOASSERTION"


Source = Annotated[
    TreeSource
    | PairsSource
    | QuestionsSource
    | FeedbackSource
    | DiscourseSource
    | StackExchangeApiSource
    | StackExchangeFileSource
    | PluginsSource
    | JenkinsSource,
    Field(discriminator="type"),
]
SOURCE_TYPES: tuple[type[Contract], ...] = (
    TreeSource,
    PairsSource,
    QuestionsSource,
    FeedbackSource,
    DiscourseSource,
    StackExchangeApiSource,
    StackExchangeFileSource,
    PluginsSource,
    JenkinsSource,
)
