"""The sources, all of one protocol.

| module | what |
|---|---|
| `protocol` | what a source is: pages of items, and where to go on |
| `registry` | from a recipe to its sources |
| `trees` | folders, git, bundles and archives of AsciiDoc and Markdown |
| `pair_files`, `question_files`, `feedback` | files of questions and answers |
| `tables` | rows of CSV, JSON Lines, JSON, XLSX and Parquet |
| `discourse` | a forum |
| `stackexchange_api`, `stackexchange_file`, `posts` | Stack Exchange by API, by dump, by Data Explorer |
| `plugins` | an update centre and the plugin site |
| `controller`, `controller_client`, `controller_documents`, `console_log` | a live Jenkins |
| `threads` | a question with its answers as a document |
"""
