"""How answers are measured, in one place: by the trainer on a file, and by `jeeves evaluate --suite` on a gateway.

| module | what | needs |
|---|---|---|
| `texts` | words, terms, token F1, ROUGE-L, longest common run | – |
| `refusals` | whether an answer declines or corrects its question | – |
| `similarity` | how close two texts are in meaning | the extra `search` |
| `quantizations` | base and tuned of each quantization in one table | – |
| `bootstrap` | intervals, paired over the same samples | numpy |
"""

MEASURES_VERSION = 2
"""Part of the identity of what is measured: figures by other rules are not compared with these."""
