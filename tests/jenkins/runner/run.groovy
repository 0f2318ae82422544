// Executes a Jenkinsfile as one build. Argument: a JSON file that describes the build (see declarative_runner.py).
// Writes an event as a JSON line for all that happens; reads commands as JSON lines: abort, lose an agent, answer an input.
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration

def spec = new JsonSlurper().parse(new File(args[0]))
def build = new Build(spec as Map, new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8'))
Thread.startDaemon {
    System.in.withReader('UTF-8') { reader ->
        String line
        while ((line = reader.readLine()) != null) {
            def command = new JsonSlurper().parseText(line)
            if (command.abort) build.abort()
            if (command.lose) build.lose(command.lose as String)
            if (command.answer) build.answers[command.answer as String] = command as Map
        }
    }
}
def shell = new GroovyShell(this.class.classLoader, new Binding(), new CompilerConfiguration(scriptBaseClass: 'JenkinsScript'))
def environment = [
    BUILD_NUMBER: "${build.number}".toString(), BUILD_ID: "${build.number}".toString(),
    JOB_NAME: (spec.job ?: 'jeeves') as String, JOB_BASE_NAME: (spec.job ?: 'jeeves').split('/')[-1],
    BUILD_TAG: "jenkins-${(spec.job ?: 'jeeves').replace('/', '-')}-${build.number}".toString(),
    BUILD_URL: "http://jenkins.invalid/job/${spec.job ?: 'jeeves'}/${build.number}/".toString(),
    JENKINS_URL: 'http://jenkins.invalid/',
] + (spec.env ?: [:])
def context = new Context(build: build, env: environment)
context.run {
    (spec.libraries ?: []).each { folder ->
        new File(folder as String, 'vars').eachFileMatch(~/.*\.groovy/) { file ->
            build.libraries[file.name - '.groovy'] = shell.parse(file)
        }
    }
    try {
        build.script = shell.parse(new File(spec.jenkinsfile as String))
        build.script.run()
    } catch (Throwable failed) {
        build.worsen(failed instanceof Interrupted ? failed.result : 'FAILURE')
        build.say("ERROR: ${failed.message ?: failed}")
    }
}
build.event('finished', [result: build.currentResult, description: build.description, displayName: build.displayName])
System.out.flush()
Runtime.runtime.halt(0)
