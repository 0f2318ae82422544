"""From a recipe to its sources."""

from typing import Any

from jeeves_collector.sources.controller import Controller
from jeeves_collector.sources.discourse import Discourse
from jeeves_collector.sources.feedback import FeedbackFiles
from jeeves_collector.sources.pair_files import PairFiles
from jeeves_collector.sources.plugins import Plugins
from jeeves_collector.sources.protocol import Source
from jeeves_collector.sources.question_files import QuestionFiles
from jeeves_collector.sources.stackexchange_api import StackExchangeApi
from jeeves_collector.sources.stackexchange_file import StackExchangeFile
from jeeves_collector.sources.trees import TreeFiles
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts import sources as recipe
from jeeves_shared.contracts.base import Contract, content_hash

_READERS: dict[type[Contract], type[Any]] = {
    recipe.TreeSource: TreeFiles,
    recipe.PairsSource: PairFiles,
    recipe.QuestionsSource: QuestionFiles,
    recipe.FeedbackSource: FeedbackFiles,
    recipe.DiscourseSource: Discourse,
    recipe.StackExchangeApiSource: StackExchangeApi,
    recipe.StackExchangeFileSource: StackExchangeFile,
    recipe.PluginsSource: Plugins,
    recipe.JenkinsSource: Controller,
}
_REMOTE = (recipe.DiscourseSource, recipe.StackExchangeApiSource, recipe.PluginsSource, recipe.JenkinsSource)
_PACE = ("requests_per_second", "requests_per_day", "relist_days", "allow_private")


def open_source(source: recipe.Source, workplace: Workplace) -> Source:
    """The reader of a source.

    Args:
        source: of a recipe.
        workplace: of the job.
    """
    reader: Source = _READERS[type(source)](source, workplace)
    return reader


def source_key(source: recipe.Source) -> str:
    """Name of a source in the ledger: another recipe, or another version of the reader, begins anew."""
    fields = source.model_dump(mode="json")
    for name in _PACE:
        fields.pop(name, None)
    return f"{source.type}-{content_hash([fields, _READERS[type(source)].VERSION])[:32]}"


def is_remote(source: recipe.Source) -> bool:
    """Whether reading a source mostly means waiting for another host."""
    return isinstance(source, _REMOTE)
