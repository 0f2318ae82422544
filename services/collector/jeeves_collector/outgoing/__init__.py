"""The one way out: every request of a source goes through `Fetcher`.

| module | what |
|---|---|
| `fetcher` | requests with limits, retries and validators |
| `gate` | rate, connections and daily quota of each host, shared by all jobs |
| `network` | names to addresses, private ones refused |
| `robots` | what a site asks crawlers to leave alone |
| `credentials` | who we are at which address |
| `errors` | what can go wrong |
"""
