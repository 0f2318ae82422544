"""What can go wrong in the trainer.

TrainerError                     below JeevesError
├── BaseModelUnusable            no such base model, or one that cannot be tuned as it is
├── MethodUnavailable            the recipe's method needs what is not here
├── RanksFailed                  one of several processes of a training ended
├── OutOfMemory                  not even one sample at a time fits the device
├── LabelsWrong                  a batch would train on something else than the answers
├── GradientsWrong               the chosen precision loses gradients
├── TemplateMismatch             the chat template of a file differs from the one trained with
├── TokenizerMismatch            training and engine cut the same text into different tokens
├── ConversionFailed             llama.cpp's converter refused the model
├── QuantizationFailed           llama.cpp's quantizer refused the file or the type
├── ArchitectureMismatch         a file is of another architecture than its training
├── RoundTripFailed              a quantized file differs too much from BF16
├── TrackingFailed               the MLflow server was not told
└── EvaluationFailed             a file cannot be judged: the engine did not answer, or there is nothing to ask
"""

from jeeves_shared.errors import JeevesError


class TrainerError(JeevesError):
    """A condition of the trainer."""

    code = "trainer"
    title = "Training failed"


class BaseModelUnusable(TrainerError):
    """No such base model, or one that cannot be tuned as it is."""

    code = "base-model-unusable"
    title = "Base model unusable"
    status = 422


class MethodUnavailable(TrainerError):
    """The recipe's method needs a package or a device that is not here."""

    code = "method-unavailable"
    title = "Method unavailable"
    status = 422


class RanksFailed(TrainerError):
    """One of several processes of a training ended."""

    code = "ranks-failed"
    title = "A process of the training failed"


class OutOfMemory(TrainerError):
    """Not even one sample at a time fits the device."""

    code = "out-of-memory"
    title = "Out of memory"


class LabelsWrong(TrainerError):
    """A batch would train on something else than the answers and their end tokens."""

    code = "labels-wrong"
    title = "Labels wrong"


class GradientsWrong(TrainerError):
    """The gradients in the chosen precision differ too much from float32."""

    code = "gradients-wrong"
    title = "Gradients wrong"


class TemplateMismatch(TrainerError):
    """The chat template of a file differs from the one that was trained with."""

    code = "template-mismatch"
    title = "Chat template differs"
    status = 422


class TokenizerMismatch(TrainerError):
    """Training and engine cut the same text into different tokens."""

    code = "tokenizer-mismatch"
    title = "Tokenizer differs"
    status = 422


class ConversionFailed(TrainerError):
    """llama.cpp's converter refused the model."""

    code = "conversion-failed"
    title = "Conversion to GGUF failed"


class QuantizationFailed(TrainerError):
    """llama.cpp's quantizer refused the file or the type."""

    code = "quantization-failed"
    title = "Quantization failed"
    status = 422


class ArchitectureMismatch(TrainerError):
    """A file is of another architecture than its training."""

    code = "architecture-mismatch"
    title = "Architecture differs"
    status = 422


class TrackingFailed(TrainerError):
    """The MLflow server was not told; said in the log, and raised no further."""

    code = "tracking-failed"
    title = "MLflow did not answer"


class RoundTripFailed(TrainerError):
    """A quantized file differs too much from the BF16 weights."""

    code = "round-trip-failed"
    title = "File differs from what was trained"
    status = 422


class EvaluationFailed(TrainerError):
    """A file cannot be judged."""

    code = "evaluation-failed"
    title = "Evaluation failed"
