import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

// What the steps of this library share: one request to the gateway, and masking. Not meant to be called by pipelines.
//
// A build never fails because of Jeeves: whatever goes wrong here becomes one line in the log and a null.

/** Whether Jeeves is switched off here: JEEVES_OFF=true, or the job lies in a folder that JEEVES_OFF_FOLDERS names. */
boolean off() {
    if (env.JEEVES_OFF == 'true') return true
    String job = env.JOB_NAME ?: ''
    return (env.JEEVES_OFF_FOLDERS ?: '').tokenize(', ').any { folder -> job == folder || job.startsWith("${folder}/") }
}

/**
 * One request; the decoded answer, or null with the reason in the log.
 *
 * @param path such as /v1/diagnose
 * @param type of the body
 * @param text the body; masked by the caller
 * @param a url, credentialsId, timeoutSeconds
 */
Map exchange(String path, String type, String text, Map a) {
    if (off()) {
        return null
    }
    try {
        String reply = a.credentialsId ? withKey(a.credentialsId as String) { send(path, type, text, a) } : send(path, type, text, a)
        String code = reply.readLines() ? reply.readLines()[0] : ''
        if (code == '200') {
            return parsed(reply.substring(code.length()))
        }
        echo "Jeeves: no answer, ${reason(code)}. The build is not affected."
    } catch (FlowInterruptedException stopped) {
        // Someone stops the build: that is not ours to swallow.
        throw stopped
    } catch (Exception failed) {
        echo "Jeeves: no answer, ${failed.message}. The build is not affected."
    }
    return null
}

private String withKey(String credentialsId, Closure body) {
    withCredentials([string(credentialsId: credentialsId, variable: 'JEEVES_LIBRARY_KEY')]) {
        return body()
    }
}

/** Through curl on the agent: an HTTP request of the controller would block all its pipelines. First line: the status. */
private String send(String path, String type, String text, Map a) {
    String folder = "${pwd(tmp: true)}/jeeves-${UUID.randomUUID()}"
    writeFile file: "${folder}/body", text: text
    withEnv([
        "JEEVES_LIBRARY_FOLDER=${folder}",
        "JEEVES_LIBRARY_URL=${(a.url ?: env.JEEVES_GATEWAY_URL ?: 'http://127.0.0.1:8080')}${path}",
        "JEEVES_LIBRARY_TYPE=${type}",
        "JEEVES_LIBRARY_SECONDS=${a.timeoutSeconds ?: 30}",
    ]) {
        // The key goes through standard input: not into the process list, nor into a file.
        return sh(returnStdout: true, label: 'Jeeves', script: '''
            set +x
            { [ -z "${JEEVES_LIBRARY_KEY:-}" ] || printf 'header = "Authorization: Bearer %s"\\n' "$JEEVES_LIBRARY_KEY"; } |
            curl --config - --silent --noproxy 127.0.0.1,localhost --max-time "$JEEVES_LIBRARY_SECONDS" --connect-timeout 5 \\
                --header "Content-Type: $JEEVES_LIBRARY_TYPE" --data-binary @"$JEEVES_LIBRARY_FOLDER/body" \\
                --output "$JEEVES_LIBRARY_FOLDER/answer" --write-out '%{http_code}\\n' "$JEEVES_LIBRARY_URL" || true
            cat "$JEEVES_LIBRARY_FOLDER/answer" 2>/dev/null || true
            rm -rf "$JEEVES_LIBRARY_FOLDER"
        '''.stripIndent())
    }
}

@NonCPS
private String reason(String code) {
    switch (code) {
        case '429': return 'it limits requests at the moment'
        case '503': return 'it is not available at the moment'
        case ['401', '403']: return 'the key was refused (credentialsId)'
        case ['000', '']: return 'it does not answer in time, or curl is not on this agent'
        default: return "it answered ${code}"
    }
}

@NonCPS
Map parsed(String text) {
    new JsonSlurperClassic().parseText(text) as Map
}

@NonCPS
String json(Map content) {
    JsonOutput.toJson(content)
}

/** The values of variables that are secrets by their name. */
@NonCPS
List<String> secretValues(Map variables) {
    variables.findAll { name, value -> name =~ /(?i)(token|secret|passw|pwd|psw|api_?key|private_?key|credential|library_key)/ }*.value*.toString()
}

/**
 * A text without ConsoleNotes, colours and secrets.
 *
 * @param text of a log or file
 * @param secrets values that must not leave; also found base64- and URL-encoded, which Jenkins' own masking misses
 */
@NonCPS
String mask(String text, List<String> secrets) {
    String clean = text.replaceAll(/(?s)\x1B\[8mha:.*?\x1B\[0m/, '').replaceAll(/\x1B\[[0-9;]*[A-Za-z]/, '')
    secrets.findAll { it != null && it.size() >= 4 }.unique().sort { -it.size() }.each { secret ->
        [secret, secret.bytes.encodeBase64().toString(), URLEncoder.encode(secret, 'UTF-8')].unique().each { form ->
            clean = clean.replace(form, '****')
        }
    }
    clean = clean.replaceAll(/(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)/, '****')
    clean = clean.replaceAll(/(?i)(authorization:\s*(?:bearer|basic|token)\s+)\S+/, '$1****')
    clean = clean.replaceAll(/(?i)(:\/\/[^\/\s:@]+:)[^\/\s@]+@/, '$1****@')
    clean = clean.replaceAll(/(?i)\b((?:[\w.-]*(?:passw(?:or)?d|secret|token|api[_-]?key))["']?\s*[=:]\s*["']?)[^\s"',;]+/, '$1****')
    clean.replaceAll(/\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]+\.[\w-]+\.[\w-]+)/, '****')
}
