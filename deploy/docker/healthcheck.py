"""Container health: exit 0 while the service on this container's port says that it is alive."""

import os
import sys
import urllib.error
import urllib.request

URL = f"http://127.0.0.1:{os.environ['JEEVES_PORT']}/healthz"

try:
    with urllib.request.urlopen(URL, timeout=4) as response:
        sys.exit(0 if response.status == 200 else 1)
except (urllib.error.URLError, TimeoutError) as exc:
    print(f"{URL}: {exc}")
    sys.exit(1)
