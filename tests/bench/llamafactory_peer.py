"""LLaMA-Factory's own training loop, timed step by step; runs in an environment that has it, and knows nothing of ours.

`python llamafactory_peer.py SPEC.json`: `settings` as `llamafactory-cli train` takes them. Prints the seconds of each
step as JSON on the last line.
"""

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

# LLaMA-Factory imports it for sound, which is not trained on; PyPI's wheel only loads beside CUDA's torch.
_torchaudio = ModuleType("torchaudio")
_torchaudio.__spec__ = ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = _torchaudio

from llamafactory.train.tuner import run_exp  # noqa: E402
from step_clock import StepClock  # noqa: E402

if __name__ == "__main__":
    clock = StepClock()
    run_exp(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["settings"], callbacks=[clock])
    print(json.dumps(clock.seconds))
