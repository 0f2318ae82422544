"""The embedded inference engine: one llama-server process, and the files it serves.

| module | what |
|---|---|
| `binary` | where the installed llama-server and converter are |
| `spec` | what to start, as a command line that keeps to loopback and to one conversation a slot |
| `process` | start it, wait for it, see it die, stop it |
| `gguf` | what a model file says about itself |
| `errors` | what can go wrong |

Used by the gateway (to serve) and by the trainer's evaluation job (to measure with the engine
that serves). Nothing here imports `llama_cpp`, torch or numpy.
"""
