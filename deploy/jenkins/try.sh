#!/bin/sh
# Starts a real controller with plugins.txt and jenkins.yaml, runs the pipeline on the starter pack, checks the result.
# For a machine with internet. With Docker: ./try.sh    Without: JENKINS_WAR=/path/jenkins.war ./try.sh
#
# Needs: the four services (make up), the command `jeeves` on the PATH, git, curl, and Java 21 with JENKINS_WAR.
# Sets nothing up outside of a temporary folder; KEEP=1 leaves it and the controller for a look.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
version=2.541.3
port=${JENKINS_PORT:-8090}
url="http://127.0.0.1:$port"
work=$(mktemp -d)
name="jeeves-try-$$"
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
plugin_manager="https://github.com/jenkinsci/plugin-installation-manager-tool/releases/download/2.13.2/jenkins-plugin-manager-2.13.2.jar"
controller=
agent=

say() { printf '%s\n' "▸ $*" >&2; }
fail() { printf '%s\n' "error: $*" >&2; exit 1; }

finish() {
    [ -n "${KEEP:-}" ] && { say "kept: $work, $url (admin / $password)"; return; }
    [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
    [ -z "$controller" ] || kill "$controller" 2>/dev/null || true
    [ -n "${JENKINS_WAR:-}" ] || docker rm -f "$name" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT INT TERM

for tool in git curl jeeves java; do
    command -v "$tool" >/dev/null || fail "$tool is not on the PATH"
done
jeeves status --json >/dev/null || fail "the services do not answer: start them with make up"

# The controller checks the repository out; what is not committed is not in it.
git clone --quiet --bare "$root" "$work/jeeves.git"
mkdir -p "$work/home/casc" "$work/agent"
cp "$here/jenkins.yaml" "$here/seed.groovy" "$work/home/casc/"
cat >"$work/environment" <<END
JENKINS_ADMIN_PASSWORD=$password
JENKINS_GATEWAY_PASSWORD=$password
JEEVES_TOKEN=${JEEVES_TOKEN:-none}
JEEVES_API_KEY=${JEEVES_API_KEY:-none}
JEEVES_GATEWAY_URL=${JEEVES_GATEWAY_URL:-http://127.0.0.1:8080}
JEEVES_REVISION=$(git -C "$root" rev-parse --abbrev-ref HEAD)
JENKINS_URL=$url/
END
chmod 600 "$work/environment"

if [ -n "${JENKINS_WAR:-}" ]; then
    [ -f "$JENKINS_WAR" ] || fail "$JENKINS_WAR is no file"
    say "plugins"
    curl -fsSL -o "$work/plugin-manager.jar" "$plugin_manager"
    java -jar "$work/plugin-manager.jar" --war "$JENKINS_WAR" --plugin-file "$here/plugins.txt" \
        --plugin-download-directory "$work/home/plugins" >"$work/plugins.log" 2>&1 || fail "plugins: see $work/plugins.log"
    say "controller from $JENKINS_WAR"
    while IFS= read -r line; do export "${line?}"; done <"$work/environment"
    env JENKINS_HOME="$work/home" CASC_JENKINS_CONFIG="$work/home/casc/jenkins.yaml" \
        CASC_FOLDER="$work/home/casc" JEEVES_REPOSITORY="file://$work/jeeves.git" \
        java -Djenkins.install.runSetupWizard=false -Dhudson.plugins.git.GitSCM.ALLOW_LOCAL_CHECKOUT=true \
        -jar "$JENKINS_WAR" --httpListenAddress=127.0.0.1 --httpPort="$port" >"$work/controller.log" 2>&1 &
    controller=$!
else
    command -v docker >/dev/null || fail "neither docker nor JENKINS_WAR is there"
    say "controller from jenkins/jenkins:$version-lts-jdk21"
    chmod -R a+rwX "$work/home" "$work/jeeves.git"
    docker run -d --name "$name" --network host --env-file "$work/environment" \
        -e JENKINS_OPTS="--httpListenAddress=127.0.0.1 --httpPort=$port" \
        -e JAVA_OPTS="-Djenkins.install.runSetupWizard=false -Dhudson.plugins.git.GitSCM.ALLOW_LOCAL_CHECKOUT=true" \
        -e CASC_JENKINS_CONFIG=/var/jenkins_home/casc/jenkins.yaml -e JEEVES_REPOSITORY="file://$work/jeeves.git" \
        -v "$work/home:/var/jenkins_home" -v "$work/jeeves.git:$work/jeeves.git:ro" -v "$here/plugins.txt:/plugins.txt:ro" \
        --entrypoint sh "jenkins/jenkins:$version-lts-jdk21" -c \
        'jenkins-plugin-cli --plugin-file /plugins.txt && exec jenkins.sh' >/dev/null
fi

call() { curl -fsS --noproxy 127.0.0.1 -u "admin:$password" -b "$work/cookies" -c "$work/cookies" "$@"; }

say "waiting for the controller"
tries=0
until call "$url/job/jeeves/job/retrain/api/json" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || fail "the controller did not come up with its job; its log: $work/controller.log or docker logs $name"
    sleep 4
done

say "agent"
curl -fsS --noproxy 127.0.0.1 -o "$work/agent.jar" "$url/jnlpJars/agent.jar"
secret=$(call "$url/computer/jeeves-cpu/jenkins-agent.jnlp" | sed 's/.*<argument>\([0-9a-f]\{64\}\)<.*/\1/')
(cd "$work/agent" && exec java -jar "$work/agent.jar" -url "$url/" -secret "$secret" -name jeeves-cpu -webSocket -workDir "$work/agent") \
    >"$work/agent.log" 2>&1 &
agent=$!

crumb=$(call "$url/crumbIssuer/api/json" | sed 's/.*"crumb":"\([^"]*\)".*/\1/')
# A first build teaches the controller the parameters; a controller that knows none takes no buildWithParameters.
say "build"
call -X POST -H "Jenkins-Crumb: $crumb" "$url/job/jeeves/job/retrain/build" >/dev/null
until call "$url/job/jeeves/job/retrain/1/api/json" >"$work/build.json" 2>/dev/null && grep -q '"building":false' "$work/build.json"; do
    sleep 10
done
call "$url/job/jeeves/job/retrain/1/consoleText" >"$work/console.txt"
result=$(sed 's/.*"result":"\([A-Z_]*\)".*/\1/' "$work/build.json")
[ "$result" = SUCCESS ] || { tail -50 "$work/console.txt" >&2; fail "the build ended as $result; KEEP=1 leaves everything for a look"; }
call "$url/job/jeeves/job/retrain/1/artifact/manifests/served.json" >"$work/served.json"
say "the pipeline promoted $(tr -d '\n' <"$work/served.json")"
call "$url/prometheus/" | grep -q '^default_jenkins_builds' || fail "the plugin prometheus shows no builds"
say "all is well"
