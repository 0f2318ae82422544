"""Secrets and personal items, made up at random in the forms that people paste, and real text to plant them in."""

import base64
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
PEOPLE = ("Maria Lindqvist", "Tomás Herrera", "Aylin Demir", "Jakub Nowak", "Priya Raman", "Owen Fitzgerald", "陈晓明")


@dataclass(frozen=True)
class Planted:
    """An item as it stands in a text.

    Attributes:
        line: what is put into the text.
        value: what must not be there afterwards.
        group: `secret` or `personal`.
    """

    line: str
    value: str
    group: str


class Mint:
    """Makes values.

    Args:
        seed: the same gives the same values.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, alphabet: str, length: int) -> str:
        return "".join(self.random.choice(alphabet) for _ in range(length))

    def password(self) -> str:
        word = self.random.choice(("Sommer", "tigger", "Blue", "quartz", "Vintage", "maple"))
        return f"{word}{self.random.choice('!#_-.')}{self.random.randrange(100, 9999)}{self.text(ALNUM, 3)}"

    def encoded(self, size: int) -> str:
        return base64.b64encode(self.random.randbytes(size)).decode()

    def jwt(self) -> str:
        header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
        body = base64.urlsafe_b64encode(b'{"sub":"' + self.text(HEX, 12).encode() + b'"}').decode().rstrip("=")
        return f"{header}.{body}.{self.text(ALNUM + '_-', 43)}"

    def pem(self) -> str:
        kind = self.random.choice(("RSA ", "EC ", "OPENSSH ", ""))
        body = "\n".join(self.text(ALNUM + "+/", 64) for _ in range(4))
        return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


SECRETS: tuple[tuple[Callable[[Mint], str], str], ...] = (
    (lambda m: "11" + m.text(HEX, 32), "curl -X POST --user deploy:{} $JENKINS_URL/job/x/build"),
    (lambda m: "11" + m.text(HEX, 32), "JENKINS_API_TOKEN={}"),
    (lambda m: m.text(HEX, 32), "java -jar jenkins-cli.jar -auth jdoe:{} list-jobs"),
    (lambda m: m.text(HEX, 64), 'curl -H "Jenkins-Crumb: {}" -X POST'),
    (lambda m: m.text(HEX, 64), '{{"crumb":"{}","crumbRequestField":"Jenkins-Crumb"}}'),
    (lambda m: m.text(HEX, 64), "java -jar agent.jar -url https://ci.example.org/ -secret {} -name linux-7"),
    (lambda m: "{AQAAABAAAAAQ" + m.encoded(32) + "}", "<secret>{}</secret>"),
    (lambda m: "{AQAAABAAAAAw" + m.encoded(48) + "}", "        <password>{}</password>"),
    (lambda m: m.password(), "  <password>{}</password>"),
    (lambda m: m.password(), "<passphrase>{}</passphrase>"),
    (lambda m: m.text(HEX, 32), "<apiToken>{}</apiToken>"),
    (lambda m: m.text(HEX, 32), "Please use the following password to proceed to installation:\n\n{}\n"),
    (lambda m: "node0" + m.text(string.ascii_lowercase + string.digits, 26) + ".node0", "Cookie: JSESSIONID.1a2b3c4d={}"),
    (lambda m: "#jbcrypt:$2a$10$" + m.text(ALNUM + "./", 53), "<passwordHash>{}</passwordHash>"),
    (lambda m: m.pem(), "{}"),
    (lambda m: m.pem().replace("\n", "\\n"), '"private_key": "{}\\n",'),
    (lambda m: m.encoded(300), "    client-key-data: {}"),
    (lambda m: m.encoded(300), "    client-certificate-data: {}"),
    (lambda m: m.jwt(), "    token: {}"),
    (lambda m: m.jwt(), "Authorization: Bearer {}"),
    (lambda m: m.text(ALNUM + "_-", 40), "Authorization: Bearer {}"),
    (lambda m: base64.b64encode(f"deploy:{m.password()}".encode()).decode(), "Authorization: Basic {}"),
    (lambda m: base64.b64encode(f"robot:{m.password()}".encode()).decode(), '"registry.example.org": {{"auth": "{}"}}'),
    (lambda m: m.password(), "git clone https://deploy:{}@git.example.org/team/app.git"),
    (lambda m: m.password(), "DATABASE_URL=postgres://ci:{}@db:5432/app"),
    (lambda m: m.text(HEX, 40), "git clone https://{}@github.com/team/app.git"),
    (lambda m: "ghp_" + m.text(ALNUM, 36), "git clone https://x:{}@github.com/team/app.git"),
    (lambda m: "ghs_" + m.text(ALNUM, 36), "GITHUB_TOKEN={}"),
    (lambda m: "github_pat_" + m.text(ALNUM, 22) + "_" + m.text(ALNUM, 59), "export GH_TOKEN={}"),
    (lambda m: "glpat-" + m.text(ALNUM + "_-", 20), "PRIVATE-TOKEN: {}"),
    (lambda m: "ATBB" + m.text(ALNUM, 32), "bitbucket app password {}"),
    (lambda m: "AKIA" + m.text(string.ascii_uppercase + "234567", 16), "aws_access_key_id = {}"),
    (lambda m: m.text(ALNUM + "+/", 40), "aws_secret_access_key = {}"),
    (lambda m: m.text(ALNUM + "+/", 40), 'AWS_SECRET_ACCESS_KEY: "{}"'),
    (lambda m: "AIza" + m.text(ALNUM + "_-", 35), "the maps key is {} for now"),
    (lambda m: m.encoded(64), "DefaultEndpointsProtocol=https;AccountName=ci;AccountKey={};EndpointSuffix=core"),
    (lambda m: m.text(ALNUM, 3) + "8Q~" + m.text(ALNUM, 34), "AZURE_CLIENT_SECRET={}"),
    (lambda m: f"xoxb-{m.random.randrange(10**11, 10**12)}-{m.random.randrange(10**11, 10**12)}-{m.text(ALNUM, 24)}", "slackSend token: '{}'"),
    (lambda m: f"T{m.text(string.ascii_uppercase, 8)}/B{m.text(string.ascii_uppercase, 8)}/{m.text(ALNUM, 24)}", "curl https://hooks.slack.com/services/{}"),
    (lambda m: "npm_" + m.text(ALNUM, 36), "//registry.npmjs.org/:_authToken={}"),
    (lambda m: "pypi-AgEIcHlwaS5vcmc" + m.text(ALNUM + "_-", 80), "password = {}"),
    (lambda m: "dckr_pat_" + m.text(ALNUM + "_-", 27), "echo {} | docker login --password-stdin"),
    (lambda m: "sqp_" + m.text(HEX, 40), "sonar.login={}"),
    (lambda m: "hvs." + m.text(ALNUM, 24), "VAULT_TOKEN={}"),
    (lambda m: "AKCp" + m.text(ALNUM, 69), "X-JFrog-Art-Api: {}"),
    (lambda m: "sk-" + m.text(ALNUM, 20) + "T3BlbkFJ" + m.text(ALNUM, 20), "OPENAI_API_KEY={}"),
    (lambda m: "hf_" + m.text(ALNUM, 34), "HF_TOKEN={}"),
    (lambda m: "SG." + m.text(ALNUM, 22) + "." + m.text(ALNUM, 43), "smtp password {}"),
    (lambda m: m.password(), "password: {}"),
    (lambda m: m.password(), "spring.datasource.password={}"),
    (lambda m: m.password(), 'storePassword "{}"'),
    (lambda m: m.password(), "keyPassword '{}'"),
    (lambda m: m.password(), 'def dbPassword = "{}"'),
    (lambda m: m.password(), "docker login -u robot -p {} registry.example.org"),
    (lambda m: m.password(), "mysql -u root -p{} app"),
    (lambda m: m.password(), "./deploy.sh --password {} --host web"),
    (lambda m: m.password(), "machine git.example.org login ci password {}"),
    (lambda m: m.password(), "I set the admin password to {} and it still fails"),
    (lambda m: m.text(ALNUM, 32), '"client_secret": "{}"'),
    (lambda m: m.text(HEX, 40), "api_key={}"),
    (lambda m: m.password(), "ANSIBLE_VAULT_PASS=x; export DEPLOY_PASSWORD='{}'"),
    (lambda m: m.password(), "curl -u admin:{} http://localhost:8080/api/json"),
    (lambda m: m.text(string.ascii_lowercase, 9), "curl -u admin:{} http://localhost:8080/api/json"),
)  # fmt: skip

PERSONAL: tuple[tuple[Callable[[Mint], str], str], ...] = (
    (lambda m: m.random.choice(PEOPLE), "Started by user {}"),
    (lambda m: m.random.choice(PEOPLE), "Aborted by {}"),
    (lambda m: m.random.choice(PEOPLE[:-1]), "Author: {} <x@example.org>"),
    (lambda m: m.random.choice(PEOPLE[:-1]), "Signed-off-by: {} <x@example.org>"),
    (lambda m: f"{m.text(string.ascii_lowercase, 6)}.{m.text(string.ascii_lowercase, 5)}@{m.text(string.ascii_lowercase, 8)}.de", "please write to {}"),
    (lambda m: f"{m.text(string.ascii_lowercase, 9)}@gmail.com", "recipients: '{}'"),
    (lambda m: m.text(string.ascii_lowercase, 7), "Building in workspace /home/{}/jobs/x"),
    (lambda m: m.text(string.ascii_lowercase, 7), "File C:\\Users\\{}\\AppData is locked"),
    (lambda m: f"build-{m.random.randrange(1, 99)}.{m.text(string.ascii_lowercase, 6)}.corp", "Connecting to {}"),
    (lambda m: f"ip-10-2-{m.random.randrange(9)}-7.ec2.internal", "ssh: connect to host {} port 22"),
    (lambda m: f"88.{m.random.randrange(99, 250)}.{m.random.randrange(99, 250)}.{m.random.randrange(99, 250)}", "refused by {} at once"),
    (lambda m: f"10.{m.random.randrange(250)}.{m.random.randrange(250)}.{m.random.randrange(2, 250)}", "Connection from {} timed out"),
    (lambda m: f"linux-agent-{m.random.randrange(100, 999)}", "Running on {} in workspace"),
)  # fmt: skip


def planted_items(seed: int, each: int) -> Iterator[Planted]:
    """Items of every form.

    Args:
        seed: of the values.
        each: how many of each form.
    """
    mint = Mint(seed)
    for _ in range(each):
        for group, table in (("secret", SECRETS), ("personal", PERSONAL)):
            for make, form in table:
                value = make(mint)
                yield Planted(form.format(value), value, group)
