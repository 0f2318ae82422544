// Runs a Jenkinsfile with everything that Jenkins defines replaced by a recorder, and prints each call as JSON:
//   [{"path": ["pipeline", "stages", "stage:Train", "steps"], "name": "sh", "args": […]}, …]
// Usage: groovy jenkinsfile_calls.groovy JENKINSFILE [--param NAME=VALUE]… [--exit FRAGMENT=CODE]…
// --exit: what `sh(returnStatus: true)` gives for a script that contains FRAGMENT.
import groovy.json.JsonOutput

class StageSkipped extends RuntimeException {}

class BuildFailed extends RuntimeException {}

class Recorder extends Script {
    List<Map> calls = []
    List<String> path = []
    Map<String, Object> given = [:]
    Map<String, Integer> exits = [:]
    Map<String, Object> params = [:]
    Map<String, String> files = [:]
    Map currentBuild = [:]

    Object run() { null }

    // A name without parentheses, such as `agent any`.
    def propertyMissing(String name) { name }

    def propertyMissing(String name, value) {
        calls << [path: path.clone(), name: name, args: [plainValue(value)]]
    }

    def methodMissing(String name, arguments) {
        def values = (arguments as List).findAll { !(it instanceof Closure) }.collect { plainValue(it) }
        calls << [path: path.clone(), name: name, args: values]
        def body = arguments ? arguments[-1] : null
        if (!(body instanceof Closure)) {
            return cannedAnswer(name, values)
        }
        if (name == 'stage') {
            return enterStage("stage:${values[0]}".toString(), body)
        }
        def result = runBody(name, body)
        if (name == 'when' && !result) {
            throw new StageSkipped()
        }
        return name == 'not' ? !result : result
    }

    private enterStage(String name, Closure body) {
        try {
            runBody(name, body)
        } catch (StageSkipped ignored) {
            calls << [path: path.clone(), name: 'skipped', args: [name]]
        }
    }

    private runBody(String name, Closure body) {
        path.add(name)
        body.delegate = this
        body.resolveStrategy = Closure.DELEGATE_FIRST
        try {
            return body.call()
        } finally {
            path.remove(path.size() - 1)
        }
    }

    private cannedAnswer(String name, List values) {
        def named = values && values[0] instanceof Map ? values[0] : [:]
        switch (name) {
            case ['string', 'booleanParam', 'choice']:
                params[named.name] = given.containsKey(named.name) ? given[named.name] : named.defaultValue
                return null
            case 'sh':
                def code = exits.find { named.script?.contains(it.key) }?.value ?: 0
                return named.returnStatus ? code : null
            case 'writeFile':
                files[named.file] = named.text
                return null
            case 'readFile':
                return files[values[0]]
            case 'credentials':
                return "<credential ${values[0]}>".toString()
            case 'error':
                throw new BuildFailed()
            default:
                return null
        }
    }

    private plainValue(value) {
        if (value instanceof Map) return value.collectEntries { [it.key, plainValue(it.value)] }
        return value instanceof GString ? value.toString() : value
    }
}

def configuration = new org.codehaus.groovy.control.CompilerConfiguration(scriptBaseClass: Script.name)
def script = new GroovyShell(this.class.classLoader, new Binding(), configuration).parse(new File(args[0]))
def recorder = new Recorder()
for (int i = 1; i < args.length; i += 2) {
    def (name, value) = args[i + 1].split('=', 2)
    if (args[i] == '--param') recorder.given[name] = value in ['true', 'false'] ? value.toBoolean() : value
    if (args[i] == '--exit') recorder.exits[name] = value as int
}
script.metaClass.methodMissing = { String name, arguments -> recorder.methodMissing(name, arguments) }
try {
    script.run()
} catch (BuildFailed ignored) {
    recorder.calls << [path: [], name: 'failed', args: []]
}
println JsonOutput.toJson(recorder.calls)
