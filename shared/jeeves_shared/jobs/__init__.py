"""Jobs: long work in a process of its own, with its state in SQL.

| module | what |
|---|---|
| `tables`, `store` | jobs and their events in SQL |
| `supervisor` | in the service: starts, watches, cancels and restarts the processes |
| `worker` | in the job's process: `JobContext`, entry point `python -m jeeves_shared.jobs.worker` |
| `api` | the HTTP resource: POST, GET, DELETE, events as SSE |
"""
