"""An update centre with ETag, and the plugin site's API.

Written from the fields of https://updates.jenkins.io/current/update-center.actual.json and
https://github.com/jenkins-infra/plugin-site-api.
"""

import hashlib
import html
import json
from typing import Any

from server import Answer, Query


class UpdateCentre:
    def __init__(self, plugins: int = 40) -> None:
        self.script = False
        self.plugins: dict[str, dict[str, Any]] = {}
        self.pages: dict[str, str] = {}
        self.warnings: list[dict[str, Any]] = [
            {
                "id": "SECURITY-1", "type": "plugin", "name": "plugin-001", "message": "Stored XSS",
                "url": "https://www.jenkins.io/security/advisory/2024-01-01/", "versions": [{"lastVersion": "1.0", "pattern": "1[.]0"}],
            },
            {"id": "SECURITY-2", "type": "core", "name": "core", "message": "Core", "url": "https://x.example", "versions": []},
        ]  # fmt: skip
        for number in range(1, plugins + 1):
            name = f"plugin-{number:03d}"
            self.plugins[name] = {
                "name": name, "title": f"Plugin {number}", "version": "1.0", "requiredCore": "2.440.3",
                "excerpt": f"Does <b>thing {number}</b>.", "labels": ["pipeline", "ui"], "wiki": f"https://plugins.jenkins.io/{name}",
                "dependencies": [{"name": "structs", "optional": number % 2 == 0, "version": "300"}],
                "developers": [{"developerId": f"dev{number}", "name": f"Dev {number}"}], "buildDate": "Jan 01, 2024",
            }  # fmt: skip
            code = f"step{number}(a: 1,\n      b: '<x>')"
            self.pages[name] = f"<h1>Plugin {number}</h1><p>Use it:</p><pre><code class=\"language-groovy\">{html.escape(code)}</code></pre><ul><li>One<pre><code>in list {number}</code></pre></li></ul>"  # fmt: skip

    def respond(self, query: Query) -> Answer:
        if query.path == "/robots.txt":
            return Answer.text("", 404)
        if query.path == "/update-center.json":
            text = json.dumps({"updateCenterVersion": 1, "plugins": self.plugins, "warnings": self.warnings})
            body = f"updateCenter.post(\n{text}\n);" if self.script else text
            etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'
            if query.headers.get("if-none-match") == etag:
                return Answer(304, b"", {"ETag": etag})
            return Answer(200, body.encode(), {"Content-Type": "application/json", "ETag": etag})
        name = query.path.removeprefix("/api/plugin/")
        if name not in self.pages:
            return Answer.of({"message": "not found"}, 404)
        return Answer.of({"name": name, "wiki": {"content": self.pages[name], "url": f"https://github.com/x/{name}"}})
