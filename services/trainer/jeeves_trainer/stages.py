"""The stages of training and the rows of a data set that each of them needs."""

from jeeves_shared.contracts.forms import DatasetForm, DatasetPart, find_form
from jeeves_shared.contracts.manifests import ArtifactRef, DatasetManifest
from jeeves_shared.contracts.recipes import TrainStage

STAGE_FORMS: dict[TrainStage, DatasetForm] = {"cpt": "text", "dpo": "preference"}
"""Form of the rows; `sft` reads the samples themselves."""


def stage_rows(dataset: DatasetManifest, stage: TrainStage, part: DatasetPart) -> ArtifactRef | None:
    """The file with a stage's rows, or None if the data set has none."""
    form = STAGE_FORMS.get(stage)
    if form is None:
        return dataset.train if part == "train" else dataset.evaluation
    return find_form(dataset.exports, part, form)
