"""AsciiDoc to GitHub Markdown: pandoc reads the language, the rest is here.

| module | what |
|---|---|
| `attributes` | document attributes: entries, references, the built-in ones |
| `preprocessor` | `include::` and conditionals: one stream of lines, as Asciidoctor's preprocessor makes it |
| `includes` | the attributes of an include: tags, lines, indentation, level offset |
| `code_blocks` | code leaves the text before pandoc sees it and comes back untouched |
| `inline_code` | code inside of lines, kept in one piece |
| `scanner` | lines to title, sections and code blocks |
| `references` | `xref:` and `<<…>>` to addresses |
| `pandoc` | long-lived pandoc processes, with a time limit for each piece |
| `convert` | all of it together |
"""
