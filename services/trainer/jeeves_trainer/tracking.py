"""An MLflow server that is told of trainings, model versions and aliases, where one is configured.

By MLflow's own HTTP API, so that no client library is needed. The registry in our database decides; MLflow shows it.
What a server missed while it was away is made up for the next time: runs and versions are found by a tag with our id or
made, and aliases are brought in line as a whole.

Source: mlflow.org, REST API reference, version 2.0 of the paths.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from jeeves_shared.contracts.manifests import ModelAlias, ModelManifest, TrainingManifest
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import RegisteredModel
from jeeves_shared.settings import load_settings
from jeeves_trainer.errors import TrackingFailed
from jeeves_trainer.settings import TrainerSettings

ALIASES: tuple[ModelAlias, ...] = ("candidate", "champion", "previous")
_EXPERIMENT = "jeeves"
_TRAINING_TAG, _MODEL_TAG = "jeeves.training_id", "jeeves.model_id"
_METRICS_PER_REQUEST = 1000
_PARAMETER_CHARACTERS = 500
"""Limits of MLflow's log-batch."""

_TIMEOUT_SECONDS = httpx.Timeout(5.0, connect=2.0)
_VERSIONS_PER_PAGE = 200


class Tracking:
    """A connection to one server.

    Args:
        address: such as `http://mlflow:5000`.
        auth: user and password, or None.
        token: bearer token; empty: none.
        transport: for tests; the network by default.

    All methods raise `TrackingFailed` when the server is away or refuses.
    """

    def __init__(
        self,
        address: str,
        auth: tuple[str, str] | None = None,
        token: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=f"{address.rstrip('/')}/api/2.0/mlflow/",
            auth=auth,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def record_training(
        self, training: TrainingManifest, recipe: TrainRecipe, curve: Sequence[Mapping[str, float]]
    ) -> str:
        """Make a training a finished run with its recipe and curve, or find it; its id.

        Args:
            training: that has ended.
            recipe: of it.
            curve: its points, each with `step`.
        """
        experiment = self._experiment()
        found = self._run_of(experiment, training.id)
        if found:
            return found
        at = _milliseconds(training.created_at)
        tags = {
            _TRAINING_TAG: training.id,
            "jeeves.dataset_id": training.dataset_id,
            "jeeves.recipe_sha256": training.recipe_sha256,
            "jeeves.template_sha256": training.template_sha256,
            "jeeves.parent_training_id": training.parent_id,
        }
        body = {"experiment_id": experiment, "run_name": training.id, "start_time": at, "tags": _pairs(tags)}
        run: str = self._post("runs/create", body)["run"]["info"]["run_id"]
        self._post("runs/log-batch", {"run_id": run, "params": _pairs(_parameters(recipe))})
        metrics = list(_metrics(curve, training, at))
        for start in range(0, len(metrics), _METRICS_PER_REQUEST):
            self._post("runs/log-batch", {"run_id": run, "metrics": metrics[start : start + _METRICS_PER_REQUEST]})
        self._post("runs/update", {"run_id": run, "status": "FINISHED", "end_time": at})
        return run

    def record_models(self, models: Sequence[RegisteredModel]) -> None:
        """Bring MLflow's versions and aliases in line with the registry.

        Args:
            models: all versions of the registry.
        """
        for name in dict.fromkeys(model.manifest.name for model in models):
            self._record_name(name, [model for model in models if model.manifest.name == name])

    def _record_name(self, name: str, models: Sequence[RegisteredModel]) -> None:
        known = self._find("registered-models/get", {"name": name})
        if known is None:
            self._post("registered-models/create", {"name": name})
        have = {
            alias["alias"]: alias["version"] for alias in (known or {}).get("registered_model", {}).get("aliases", ())
        }
        versions = self._versions(name)
        for model in sorted(models, key=lambda model: model.manifest.version):
            if model.manifest.id not in versions:
                versions[model.manifest.id] = self._create_version(model.manifest)
        wanted = {alias: versions[model.manifest.id] for model in models for alias in model.aliases}
        for alias in ALIASES:
            if alias in wanted and have.get(alias) != wanted[alias]:
                self._post("registered-models/alias", {"name": name, "alias": alias, "version": wanted[alias]})
            elif alias in have and alias not in wanted:
                self._call("DELETE", "registered-models/alias", body={"name": name, "alias": alias})

    def _versions(self, name: str) -> dict[str, str]:
        """MLflow's version by our model id."""
        found: dict[str, str] = {}
        query = {"filter": f"name='{name}'", "max_results": str(_VERSIONS_PER_PAGE)}
        while True:
            page = self._call("GET", "model-versions/search", params=query)
            for version in page.get("model_versions", ()):
                tags = {tag["key"]: tag["value"] for tag in version.get("tags", ())}
                if _MODEL_TAG in tags:
                    found[tags[_MODEL_TAG]] = version["version"]
            if not page.get("next_page_token"):
                return found
            query["page_token"] = page["next_page_token"]

    def _create_version(self, model: ModelManifest) -> str:
        tags = {
            _MODEL_TAG: model.id,
            _TRAINING_TAG: model.training_id,
            "jeeves.version": str(model.version),
            "jeeves.dataset_id": model.dataset_id,
            **{f"jeeves.sha256.{file.quantization}": file.artifact.sha256 for file in model.files},
        }
        body = {
            "name": model.name,
            "source": f"jeeves://models/{model.id}",  # the files stay in our store
            "run_id": self._run_of(self._experiment(), model.training_id),
            "description": f"{model.name} v{model.version} of Jeeves, from {model.base_model}",
            "tags": _pairs(tags),
        }
        return str(self._post("model-versions/create", body)["model_version"]["version"])

    def _experiment(self) -> str:
        found = self._find("experiments/get-by-name", {"experiment_name": _EXPERIMENT})
        if found is None:
            return str(self._post("experiments/create", {"name": _EXPERIMENT})["experiment_id"])
        return str(found["experiment"]["experiment_id"])

    def _run_of(self, experiment: str, training_id: str) -> str:
        """The finished run of a training; empty if there is none."""
        query = f"tags.`{_TRAINING_TAG}` = '{training_id}' and attributes.status = 'FINISHED'"
        body = {"experiment_ids": [experiment], "filter": query, "max_results": 1}
        runs = self._post("runs/search", body).get("runs", [])
        return str(runs[0]["info"]["run_id"]) if runs else ""

    def _find(self, path: str, query: Mapping[str, str]) -> Any | None:
        """As `_call`; None where there is no such thing."""
        return self._call("GET", path, params=dict(query), may_miss=True)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, body=body)

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        may_miss: bool = False,
    ) -> Any:
        try:
            answer = self._http.request(method, path, params=params, json=body)
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise TrackingFailed(f"MLflow at {self._http.base_url.host} did not answer {path}: {exc!r}") from exc
        if answer.is_success:
            return found
        code = found.get("error_code", "") if isinstance(found, dict) else ""
        if may_miss and code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise TrackingFailed(f"MLflow refused {path} with {answer.status_code} {code}: {str(found)[:300]}")


def open_tracking() -> Tracking | None:
    """The server of this installation's settings, or None if there is none.

    Raises:
        SettingsError: wrong configuration.
    """
    address = load_settings(TrainerSettings).trainer_mlflow_url or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address:
        return None
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    return Tracking(address, (user, password) if user else None, os.environ.get("MLFLOW_TRACKING_TOKEN", ""))


def tell(act: Callable[[Tracking], object], complain: Callable[[str], None]) -> None:
    """Tell the configured server something; what fails is said, never raised: no training depends on who watches it.

    Args:
        act: calls one of `Tracking`'s methods.
        complain: gets one line when it failed.
    """
    tracking = open_tracking()
    if tracking is None:
        return
    try:
        act(tracking)
    except TrackingFailed as exc:
        complain(f"MLflow was not told, which changes nothing here: {exc.detail}")
    finally:
        tracking.close()


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items() if value]


def _parameters(recipe: TrainRecipe) -> dict[str, str]:
    """A recipe's settings, those of its parts with a dot in their name."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            yield prefix, str(value)[:_PARAMETER_CHARACTERS]

    return dict(walk("", recipe.model_dump(mode="json", exclude={"round_trip"})))


def _metrics(
    curve: Sequence[Mapping[str, float]], training: TrainingManifest, at: int
) -> Iterator[dict[str, str | float]]:
    for point in curve:
        step = int(point["step"])
        for name, value in point.items():
            if name != "step" and math.isfinite(value):  # JSON has no NaN
                yield {"key": name, "value": value, "timestamp": at, "step": step}
    for name, value in (("best_step", training.best_step), ("best_eval_loss", training.eval_loss)):
        yield {"key": name, "value": float(value), "timestamp": at, "step": training.best_step}


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
