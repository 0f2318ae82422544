"""`jeeves train --launcher`: the same recipe as a Kubernetes job, or on a Jenkins agent. Written out, never applied.

Both run `python -m jeeves_trainer.standalone` with the request inside, against the installation's own artifact store,
and go on from the last checkpoint when they are started again.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.contracts.base import canonical_json, content_hash
from jeeves_shared.contracts.requests import TrainingRequest

_REQUEST = "request.json"
_CONFIG_MAP_BYTES_MAX = 1 << 20
"""Source: kubernetes.io/docs/concepts/configuration/configmap."""


class Launcher(StrEnum):
    """Where a training runs."""

    service = "service"
    kubernetes = "kubernetes"
    jenkins = "jenkins"


def launch_file(launcher: Launcher, request: TrainingRequest, store: str, image: str) -> str:
    """The file that runs a training elsewhere.

    Args:
        launcher: not `service`.
        request: what to run.
        store: address of the artifact store, as seen from there.
        image: of the trainer, for Kubernetes.

    Raises:
        CommandError: the store is a folder of this machine, or the request is too large for a ConfigMap.
    """
    if "://" not in store:
        raise CommandError(
            "A training elsewhere needs a store that it can reach: give --store s3://bucket/prefix or the like.",
            Exit.USAGE,
        )
    if launcher is Launcher.jenkins:
        return jenkins_pipeline(request, store)
    return yaml.safe_dump_all(kubernetes_objects(request, store, image), sort_keys=False)


def kubernetes_objects(request: TrainingRequest, store: str, image: str) -> list[dict[str, Any]]:
    """A ConfigMap with the request, a claim for the checkpoints, and the Job; arguments as of `launch_file`."""
    recipe = request.recipe
    text = canonical_json(request)
    if len(text.encode()) > _CONFIG_MAP_BYTES_MAX:
        raise CommandError("The request is larger than a ConfigMap may be (1 MiB).", Exit.USAGE)
    name = f"jeeves-train-{content_hash(request)[:12]}"
    labels = {"app.kubernetes.io/name": "jeeves-trainer", "app.kubernetes.io/part-of": "jeeves"}
    head = {"name": name, "labels": labels}
    resources: dict[str, Any] = {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}}
    if recipe.device is not None:
        memory = f"{max(16, round(recipe.device.memory_gib * recipe.processes))}Gi"
        resources = {
            "requests": {"cpu": str(4 * recipe.processes), "memory": memory},
            "limits": {"memory": memory, "nvidia.com/gpu": str(recipe.processes)},
        }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {_REQUEST: text}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": head,
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "200Gi"}}},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": head,
            "spec": {
                "backoffLimit": 6,  # each attempt goes on from the last checkpoint
                "template": {"metadata": {"labels": labels}, "spec": _pod(name, image, store, resources)},
            },
        },
    ]


def _pod(name: str, image: str, store: str, resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "train",
                "image": image,
                "command": _command(store, "/request", "/work"),
                "resources": resources,
                "env": [{"name": "HOME", "value": "/work"}, {"name": "HF_HOME", "value": "/work/huggingface"}],
                "envFrom": [{"secretRef": {"name": "jeeves-store", "optional": True}}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "request", "mountPath": "/request", "readOnly": True},
                    {"name": "work", "mountPath": "/work"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
                    {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
                ],
            }
        ],
        "volumes": [
            {"name": "request", "configMap": {"name": name}},
            {"name": "work", "persistentVolumeClaim": {"claimName": name}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
        ],
    }


def _command(store: str, request: str, work: str) -> list[str]:
    return [
        *("python", "-m", "jeeves_trainer.standalone"),
        *("--request", f"{request}/{_REQUEST}"),
        *("--store", store),
        *("--work", work),
        *("--out", f"{work}/training.json"),
    ]


def jenkins_pipeline(request: TrainingRequest, store: str) -> str:
    """A Declarative Pipeline that trains on an agent with the label `gpu`; arguments as of `launch_file`."""
    label = "gpu" if request.recipe.device is not None else "linux"
    words = " ".join(_command(store, ".", "jeeves-work"))
    return f"""// {request.recipe.name} on {request.dataset.id}, written by `jeeves train --launcher jenkins`.
// The agent needs the trainer's package and, in its environment, the credentials of the store.
pipeline {{
    agent {{
        label '{label}'
    }}
    options {{
        disableConcurrentBuilds()
    }}
    stages {{
        stage('Train') {{
            steps {{
                writeFile file: '{_REQUEST}', text: '{_groovy(canonical_json(request))}'
                sh '{_groovy(words)}'
                archiveArtifacts artifacts: 'jeeves-work/training.json', fingerprint: true
            }}
        }}
    }}
}}
"""


def _groovy(text: str) -> str:
    """Text inside of a single-quoted Groovy string, where nothing is interpolated."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def write_launch_file(text: str, out: Path | None) -> None:
    """Write the file, or print it."""
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
