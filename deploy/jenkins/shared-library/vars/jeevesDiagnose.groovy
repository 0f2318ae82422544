import com.cloudbees.groovy.cps.NonCPS
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/**
 * Ask Jeeves why this build failed: shows cause, evidence and fix in the log and on the build's page, returns them.
 *
 *   post { failure { jeevesDiagnose(credentialsId: 'jeeves-api-key') } }
 *
 * @param a all optional: url, credentialsId, timeoutSeconds (30), maxLines (2000), log (instead of the build's own),
 *   secrets (more values that must not leave)
 * @return cause, evidence [[line, text]], fix, confidence, sources; null if Jeeves is off, down, slow or limiting
 */
Map call(Map a = [:]) {
    if (jeevesGateway.off()) {
        return null
    }
    try {
        String log = a.log ?: ownLog((a.maxLines ?: 2000) as int)
        String masked = jeevesGateway.mask(log, jeevesGateway.secretValues(env.getEnvironment()) + (a.secrets ?: []))
        Map answer = jeevesGateway.exchange('/v1/diagnose', 'text/plain; charset=utf-8', masked, a)
        if (answer == null) {
            return null
        }
        Map diagnosis = shaped(answer)
        show(diagnosis)
        return diagnosis
    } catch (FlowInterruptedException stopped) {
        throw stopped
    } catch (Exception failed) {
        echo "Jeeves: no diagnosis, ${failed.message}. The build is not affected."
        return null
    }
}

@NonCPS
private String ownLog(int lines) {
    currentBuild.rawBuild.getLog(lines).join('\n')
}

/** The gateway's answer, reduced to what pipelines use. */
@NonCPS
private Map shaped(Map answer) {
    Map found = (answer.findings ?: answer) as Map
    def fix = found.fix ?: []
    [
        cause: found.cause ?: 'unknown',
        evidence: (found.evidence ?: []).collect { [line: it.line, text: it.text] },
        fix: fix instanceof List ? fix.join('\n') : fix.toString(),
        confidence: found.confidence ?: 'low',
        sources: (answer.citations ?: answer.sources ?: []).collect { it instanceof Map ? it.url ?: it.title : it },
    ]
}

private void show(Map diagnosis) {
    echo asText(diagnosis)
    String line = "Jeeves: ${diagnosis.cause}"
    currentBuild.description = currentBuild.description ? "${currentBuild.description}\n${line}" : line
    try {
        // With the plugin badge, the whole of it on the build's page.
        addSummary(icon: 'symbol-help-circle', text: asText(diagnosis))
    } catch (NoSuchMethodError ignored) {
        echo 'Jeeves: with the plugin badge this stands on the page of the build, too.'
    }
}

@NonCPS
private String asText(Map diagnosis) {
    List<String> lines = ['', '──── Jeeves ────', "Cause (${diagnosis.confidence} confidence): ${diagnosis.cause}"]
    lines += diagnosis.evidence.collect { "  line ${it.line}: ${it.text}" }
    lines += ['Fix:'] + diagnosis.fix.readLines().collect { "  ${it}" }
    lines += diagnosis.sources.collect { "  see ${it}" }
    lines.join('\n')
}
