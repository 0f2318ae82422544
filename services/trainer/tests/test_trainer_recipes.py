"""Every shipped recipe loads, and requests that cannot work are refused before any work."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.recipes import BaseModelSource, TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.errors import RecipeError
from jeeves_trainer.base_models import locate
from jeeves_trainer.errors import BaseModelUnusable
from jeeves_trainer.trainings import check_request, training_id

JOBS = Path(__file__).parents[3] / "training-jobs"


@pytest.mark.parametrize("path", sorted((JOBS / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_training_recipes_load(path: Path):
    recipe = TrainRecipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    assert recipe.name == path.stem


def test_the_published_settings_of_jenai():
    recipe = TrainRecipe.model_validate(yaml.safe_load((JOBS / "train/llama-2-7b-qlora-t4.yaml").read_text("utf-8")))
    assert (recipe.method, recipe.lora.rank, recipe.lora.alpha) == ("qlora", 64, 16)
    assert (recipe.learning_rate, recipe.schedule, recipe.warmup_ratio) == (2e-4, "constant", 0.03)
    assert recipe.max_grad_norm == 0.3


@pytest.fixture
def request_body(tmp_path, make_dataset) -> TrainingRequest:
    recipe = TrainRecipe.model_validate(yaml.safe_load((JOBS / "train/smollm2-135m-cpu.yaml").read_text("utf-8")))
    return TrainingRequest(recipe=recipe, dataset=make_dataset(ArtifactStore(str(tmp_path)), 4, 2))


def test_all_mistakes_at_once(request_body: TrainingRequest):
    wrong = request_body.model_copy(
        update={
            "dataset": request_body.dataset.model_copy(
                update={"prompt_sha256": "f" * 64, "evaluation_samples": 0, "train_samples": 0}
            ),
        }
    )
    with pytest.raises(RecipeError) as caught:
        check_request(wrong)
    assert len(caught.value.errors) == 3
    check_request(request_body)


def test_a_recipe_with_five_mistakes_names_all_five(request_body: TrainingRequest):
    wrong = {
        **request_body.recipe.model_dump(mode="json"),
        "learning_rate": 0,
        "method": "qlorra",
        "gradient_checkpointing": True,
        "quantizations": ["Q8_0", "Q9_K"],
        "epoch": 3,
    }
    with pytest.raises(ValidationError) as caught:
        TrainRecipe.model_validate(wrong)
    assert {error["loc"][0] for error in caught.value.errors()} == {
        *("learning_rate", "method", "gradient_checkpointing", "quantizations", "epoch")
    }


def test_identity_is_of_inputs_and_recipe(request_body: TrainingRequest):
    located = locate(request_body.recipe.base_model)
    same = training_id(request_body, located)
    later = request_body.recipe.model_copy(update={"quantizations": ("Q4_K_M",)})
    assert training_id(request_body.model_copy(update={"recipe": later}), located) == same
    other = request_body.recipe.model_copy(update={"learning_rate": 3e-3})
    assert training_id(request_body.model_copy(update={"recipe": other}), located) != same


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("wheel:no-such-package", "pip install"),
        ("/no/such/folder", "no folder"),
        ("wheel:yaml", "GGUF"),
        ("just-a-name", "owner/name"),
    ],
)
def test_a_missing_base_model_names_the_remedy(location: str, message: str):
    with pytest.raises(BaseModelUnusable, match=message):
        locate(BaseModelSource(name="x", location=location, licence="Apache-2.0"))


def test_pickled_weights_are_not_read(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BaseModelUnusable, match="pickled"):
        locate(BaseModelSource(name="x", location=str(tmp_path), licence="Apache-2.0"))


def test_a_pickle_by_the_name_of_safetensors_is_not_read(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps({"weight": [1.0] * 100}))
    with pytest.raises(BaseModelUnusable, match="nothing is unpickled"):
        locate(BaseModelSource(name="x", location=str(tmp_path), licence="Apache-2.0"))


def test_the_service_process_stays_light():
    heavy = "torch transformers peft trl datasets llama_cpp numpy"
    code = f"import sys, jeeves_trainer.app; print([n for n in {heavy.split()!r} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
