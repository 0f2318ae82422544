"""What a training would need, found out without training: `jeeves train --dry-run`."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract


class MemoryEstimate(Contract):
    """Peak memory of a training, in bytes. Written by the trainer; read by the command line and people."""

    weights: int = Field(ge=0, description="The frozen base; 0 if it is trained whole.")
    adapter: int = Field(ge=0, description="Trained parameters and their gradients, float32.")
    optimizer: int = Field(ge=0, description="Two moments of each trained parameter, float32.")
    activations: int = Field(ge=0, description="Kept for the backward pass of one micro batch of longest samples.")
    logits: int = Field(ge=0, description="Of the labelled tokens of one micro batch.")
    overhead: int = Field(ge=0, description="Libraries, the device's context, fragments.")

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return sum(int(part) for part in self.model_dump().values())


class PlanFinding(Contract):
    """One thing that was checked."""

    name: str
    severity: Literal["ok", "warning", "error"]
    text: str


class TrainingPlan(Contract):
    """Result of the job `plans`. Written by the trainer; read by the command line and Jenkins."""

    schema_version: Literal[1] = 1
    kind: Literal["plan"] = "plan"
    recipe: str
    dataset_id: str
    parameters: int = Field(ge=0, description="Of the base model; 0 if its shape is not known here.")
    trained_parameters: int = Field(ge=0)
    steps: int = Field(ge=0, description="With packing, at most so many; 0: known when the rows are read.")
    device: str
    device_bytes: int = Field(ge=0, description="Memory that the run may use.")
    memory: MemoryEstimate | None = Field(description="None if the shape of the base model is not known here.")
    findings: tuple[PlanFinding, ...]
    advice: tuple[str, ...] = Field(description="What to change in the recipe so that it fits, best first.")

    @property
    def ready(self) -> bool:
        """True if nothing speaks against running it."""
        return all(finding.severity != "error" for finding in self.findings)
