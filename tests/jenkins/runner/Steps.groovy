import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit
import java.util.concurrent.locks.ReentrantLock

/** The steps, run for real in the current context. The delegate of every block of steps. */
class Steps {
    static final Steps instance = new Steps()

    private static Context at() { Context.current() }

    private static Build build() { Context.current().build }

    // --- names ---------------------------------------------------------------------------------------------------

    def methodMissing(String name, Object arguments) { invokeStep(name, arguments as List) }

    def propertyMissing(String name) { variable(name) }

    Object invokeStep(String name, List arguments) {
        def library = build().libraries[name]
        if (library != null) return library.call(*arguments)
        if (metaClass.respondsTo(this, name, *arguments)) return metaClass.invokeMethod(this, name, arguments as Object[])
        Object[] given = arguments as Object[]
        Script file = build().script
        if (file.metaClass.pickMethod(name, given*.class as Class[]) != null) return file.metaClass.invokeMethod(file, name, given)
        throw new NoSuchStep(name)
    }

    Object variable(String name) {
        switch (name) {
            case 'env': return new Environment()
            case 'params': return Collections.unmodifiableMap(build().params)
            case 'currentBuild': return new CurrentBuild(build())
            case 'scm': return 'scm'
        }
        if (build().libraries.containsKey(name)) return build().libraries[name]
        if (at().env.containsKey(name)) return at().env[name]
        if (build().params.containsKey(name)) return build().params[name]
        throw new MissingPropertyException(name, Steps)
    }

    Object body(Context context, Closure given) {
        context.build.check(context)
        Closure block = given.clone() as Closure
        block.delegate = this
        block.resolveStrategy = Closure.DELEGATE_FIRST
        context.run { block.call() }
    }

    // --- shell ---------------------------------------------------------------------------------------------------

    def sh(String script) { sh(script: script) }

    def sh(GString script) { sh(script: script.toString()) }

    def sh(Map a) {
        Context context = at()
        Build running = context.build
        File folder = context.needFolder('sh')
        build().check(context)
        folder.mkdirs()
        String script = a.script.toString().stripIndent()
        File file = File.createTempFile('script', '.sh', new File(build().state, 'tmp').with { it.mkdirs(); it })
        file.text = script
        build().event('sh', [script: script, stage: context.path, agent: context.agent?.name])
        def command = ['setsid', '/bin/sh', a.returnStdout || script.startsWith('#!') ? '-e' : '-xe', file.path]
        def builder = new ProcessBuilder(command).directory(folder)
        builder.environment().with { environment ->
            def kept = environment.findAll { it.key in ['PATH', 'HOME', 'LANG', 'TMPDIR'] }
            clear()
            putAll(kept)
            putAll(context.env.collectEntries { [it.key, it.value.toString()] })
        }
        if (!a.returnStdout) builder.redirectErrorStream(true)
        Process process = builder.start()
        build().processes << process
        def captured = new StringBuilder()
        def errors = a.returnStdout ? Thread.start { process.errorStream.eachLine { running.say(it) } } : null
        def reader = Thread.start {
            process.inputStream.eachLine { line -> a.returnStdout ? captured.append(line).append('\n') : running.say(line) }
        }
        long left = context.deadline - System.currentTimeMillis()
        if (!process.waitFor(left, TimeUnit.MILLISECONDS)) {
            Build.stop(process)
            process.waitFor()
            build().processes.remove(process)
            throw new Interrupted('Timeout has been exceeded')
        }
        build().processes.remove(process)
        // What a script left running in the background keeps the pipe open; its output is no longer waited for.
        [reader, errors].each { it?.join(2000) }
        build().check(context)
        int code = process.exitValue()
        if (a.returnStatus) return code
        if (code != 0) throw new StepFailed("script returned exit code ${code}")
        a.returnStdout ? captured.toString() : null
    }

    boolean isUnix() { true }

    // --- messages and results ------------------------------------------------------------------------------------

    void echo(Object message) { build().say(message instanceof Map ? message.message.toString() : message.toString()) }

    void error(Object message) { throw new StepFailed((message instanceof Map ? message.message : message).toString()) }

    void unstable(Object message) {
        build().say('WARNING: ' + (message instanceof Map ? message.message : message))
        mark('UNSTABLE')
    }

    private void mark(String result) {
        build().worsen(result)
        StageStatus.current()?.worsen(result)
    }

    def catchError(Map a = [:], Closure block) {
        try {
            body(at(), block)
        } catch (Interrupted interrupted) {
            if (a.catchInterruptions == false || build().aborted) throw interrupted
            caught(a, interrupted)
        } catch (Throwable failed) {
            caught(a, failed)
        }
        null
    }

    def warnError(String message, Closure block) { catchError([message: message, buildResult: 'UNSTABLE', stageResult: 'UNSTABLE'], block) }

    private void caught(Map a, Throwable failed) {
        build().say("${a.message ? a.message + ': ' : ''}ERROR: ${failed.message}")
        String forBuild = a.buildResult ?: 'FAILURE'
        if (forBuild != 'SUCCESS') build().worsen(forBuild)
        StageStatus.current()?.worsen((a.stageResult ?: forBuild) as String)
    }

    void mail(Map a) { build().event('mail', a.collectEntries { [it.key, it.value.toString()] }) }

    void addSummary(Map a) { build().event('summary', a.collectEntries { [it.key, it.value.toString()] }) }

    // --- control -------------------------------------------------------------------------------------------------

    def retry(int count, Closure block) { retry([count: count], block) }

    def retry(Map a, Closure block) {
        int count = a.count as int
        for (int attempt = 1; ; attempt++) {
            try {
                return body(at(), block)
            } catch (Interrupted interrupted) {
                throw interrupted
            } catch (Throwable failed) {
                if (attempt >= count) throw failed
                build().say("ERROR: ${failed.message}\nRetrying (${count - attempt} more)")
            }
        }
    }

    def timeout(int minutes, Closure block) { timeout([time: minutes], block) }

    def timeout(Map a, Closure block) {
        long limit = System.currentTimeMillis() + TimeUnit.valueOf((a.unit ?: 'MINUTES') as String).toMillis(a.time as long)
        body(at().with(deadline: Math.min(limit, at().deadline)), block)
    }

    void sleep(Object a) {
        def named = a instanceof Map ? a : [time: a]
        long until = System.currentTimeMillis() + TimeUnit.valueOf((named.unit ?: 'SECONDS') as String).toMillis(named.time as long)
        while (System.currentTimeMillis() < until) {
            build().check(at())
            if (System.currentTimeMillis() > at().deadline) throw new Interrupted('Timeout has been exceeded')
            Thread.sleep(20)
        }
    }

    def waitUntil(Map a = [:], Closure block) {
        while (!body(at(), block)) sleep([time: 100, unit: 'MILLISECONDS'])
    }

    def parallel(Map branches) {
        boolean failFast = branches.failFast ?: false
        runParallel(branches.findAll { it.key != 'failFast' }.collectEntries { name, block ->
            [(name): { -> body(at(), block as Closure) }]
        }, failFast)
    }

    /** Run all at once in threads of their own; the first failure is thrown when all have ended. */
    static void runParallel(Map<String, Closure> branches, boolean failFast) {
        if (branches.isEmpty()) return
        Context context = Context.current()
        def status = StageStatus.current()
        def pool = Executors.newFixedThreadPool(branches.size())
        try {
            def failures = Collections.synchronizedList([])
            def futures = branches.collect { name, block ->
                pool.submit({
                    StageStatus.enter(status)
                    try {
                        context.run(block)
                    } catch (Throwable failed) {
                        failures << failed
                        if (failFast) context.build.processes.each { Build.stop(it) }
                    }
                } as Callable)
            }
            futures*.get()
            if (failures) throw (failures.find { it instanceof Interrupted } ?: failures[0])
        } finally {
            pool.shutdown()
        }
    }

    def lock(String resource, Closure block) { lock([resource: resource], block) }

    def lock(Map a, Closure block) {
        String name = a.resource ?: a.label
        def held = build().locks.computeIfAbsent(name) { new ReentrantLock(true) }
        build().say("Trying to acquire lock on [${name}]")
        while (!held.tryLock(50, TimeUnit.MILLISECONDS)) build().check(at())
        build().event('lock', [resource: name])
        try {
            return body(at(), block)
        } finally {
            held.unlock()
            build().event('unlock', [resource: name])
        }
    }

    def script(Closure block) { body(at(), block) }

    def timestamps(Closure block) { body(at(), block) }

    def ansiColor(String map, Closure block) { body(at(), block) }

    def withEnv(List pairs, Closure block) {
        body(at().withEnv(pairs.collectEntries { it.toString().split('=', 2) as List }), block)
    }

    def node(String label = null, Closure block) {
        Declarative.onAgent(build(), at(), label) { Context context -> body(context, block) }
    }

    void milestone(Object ignored = null) { }

    def input(Object message) { input(message instanceof Map ? message : [message: message.toString()]) }

    /** Ask the test; it answers by id, or else by message. */
    def input(Map a) {
        String id = a.id ?: a.message
        build().event('input', [id: id, message: a.message.toString(), ok: a.ok ?: 'Proceed', submitter: a.submitter])
        def given = build().spec.inputs ?: [:]
        Map answer = null
        while (answer == null) {
            answer = (given[id] ?: build().answers.remove(id)) as Map
            if (answer == null) sleep([time: 50, unit: 'MILLISECONDS'])
        }
        if (answer.action == 'abort') throw new Interrupted("Rejected by ${answer.by ?: 'the test'}")
        build().say("Approved by ${answer.by ?: 'the test'}")
        def values = (a.parameters ?: []).collectEntries { [it.name, (answer.parameters ?: [:])[it.name] ?: it.defaultValue] }
        if (a.submitterParameter) values[a.submitterParameter] = answer.by ?: 'the test'
        values.size() == 1 ? values.values()[0] : values ?: null
    }

    Map string(Map a) { [type: 'string'] + a }

    Map booleanParam(Map a) { [type: 'boolean'] + a }

    Map choice(Map a) { [type: 'choice', defaultValue: (a.choices instanceof String ? a.choices.readLines() : a.choices)[0]] + a }

    Map text(Map a) { [type: 'string'] + a }

    Map usernamePassword(Map a) { [type: 'usernamePassword'] + a }

    Map file(Map a) { [type: 'file'] + a }

    // --- credentials ---------------------------------------------------------------------------------------------

    def withCredentials(List bindings, Closure block) {
        def values = bindings.collectMany { binding -> bound(build(), binding as Map).entrySet() as List }
        // A user's name is no secret.
        def names = bindings*.usernameVariable
        def hidden = values.findAll { it.value && !(it.key in names) }*.value
        build().secrets.addAll(hidden)
        try {
            return body(at().withEnv(values.collectEntries { [it.key, it.value] }), block)
        } finally {
            hidden.each { build().secrets.remove(it) }
        }
    }

    static Map<String, String> bound(Build build, Map binding) {
        def value = (build.spec.credentials ?: [:])[binding.credentialsId]
        if (value == null) throw new StepFailed("Could not find credentials entry with ID '${binding.credentialsId}'")
        switch (binding.type) {
            case 'usernamePassword':
                def (user, password) = value.toString().split(':', 2)
                return [(binding.usernameVariable): user, (binding.passwordVariable): password]
            default: return [(binding.variable): value.toString()]
        }
    }

    // --- files ---------------------------------------------------------------------------------------------------

    private File path(Object name) {
        File given = new File(name.toString())
        given.absolute ? given : new File(at().needFolder('files'), name.toString())
    }

    String readFile(Object a) {
        File file = path(a instanceof Map ? a.file : a)
        if (!file.isFile()) throw new StepFailed("${file.name}: no such file")
        file.getText('UTF-8')
    }

    void writeFile(Map a) {
        File file = path(a.file)
        file.parentFile.mkdirs()
        file.setText(a.text.toString(), 'UTF-8')
    }

    boolean fileExists(Object a) { path(a instanceof Map ? a.file : a).exists() }

    String pwd(Map a = [:]) { a.tmp ? new File(at().needFolder('pwd').path + '@tmp').with { it.mkdirs(); it.path } : at().needFolder('pwd').path }

    void deleteDir() { at().needFolder('deleteDir').deleteDir() }

    void cleanWs(Map a = [:]) { deleteDir() }

    def dir(String name, Closure block) {
        File folder = path(name)
        folder.mkdirs()
        body(at().with(folder: folder), block)
    }

    def checkout(Object scm) {
        File folder = at().needFolder('checkout')
        folder.mkdirs()
        copy(new File(build().spec.source as String), folder, ['**'])
    }

    void stash(Map a) {
        File target = new File(build().state, "stashes/${a.name}")
        target.deleteDir()
        int number = copy(at().needFolder('stash'), target, patterns(a.includes ?: '**'))
        if (number == 0 && !a.allowEmpty) throw new StepFailed("No files included in stash '${a.name}'")
        target.mkdirs()
        build().say("Stashed ${number} file(s)")
    }

    void unstash(Object a) {
        String name = a instanceof Map ? a.name : a
        File stored = new File(build().state, "stashes/${name}")
        if (!stored.isDirectory()) throw new StepFailed("No such saved stash '${name}'")
        copy(stored, at().needFolder('unstash'), ['**'])
    }

    void archiveArtifacts(Object given) {
        Map a = given instanceof Map ? given : [artifacts: given]
        int number = copy(at().needFolder('archiveArtifacts'), new File(build().state, 'archive'), patterns(a.artifacts))
        if (number == 0 && !a.allowEmptyArchive) throw new StepFailed("No artifacts found that match the file pattern \"${a.artifacts}\"")
        build().event('archived', [files: number, fingerprint: a.fingerprint ?: false])
    }

    def junit(Object given) {
        Map a = given instanceof Map ? given : [testResults: given]
        File reports = new File(build().state, 'junit')
        int number = copy(at().needFolder('junit'), reports, patterns(a.testResults))
        if (number == 0) {
            if (a.allowEmptyResults) return null
            throw new StepFailed('No test report files were found. Configuration error?')
        }
        int total = 0, failed = 0
        reports.eachFileRecurse { file ->
            if (!file.name.endsWith('.xml')) return
            new XmlSlurper().parse(file).'**'.findAll { it.name() == 'testcase' }.each { test ->
                total++
                if (test.failure.size() > 0 || test.error.size() > 0) failed++
            }
        }
        build().event('junit', [total: total, failed: failed])
        if (failed > 0 && !a.skipMarkingBuildUnstable) mark('UNSTABLE')
        null
    }

    void publishHTML(Object given) {
        Map a = given.target ?: given
        File folder = path(a.reportDir ?: '.')
        def missing = a.reportFiles.split(',').findAll { !new File(folder, it.trim()).isFile() }
        if (missing && !a.allowMissing) throw new StepFailed("Specified HTML file(s) do not exist: ${missing.join(', ')}")
        copy(folder, new File(build().state, "html/${a.reportName}"), ['**'])
        build().event('html', [name: a.reportName, missing: missing])
    }

    void plot(Map a) {
        def series = (a.csvSeries ?: []).collect { it.file }
        series.each { if (!path(it).isFile()) throw new StepFailed("plot: ${it} does not exist") }
        build().event('plot', [title: a.title, group: a.group, files: series])
    }

    private static List<String> patterns(Object text) { text.toString().split(',').collect { it.trim() } }

    /** Copy what matches Ant-like patterns; how many files. */
    static int copy(File from, File to, List<String> patterns) {
        if (!from.isDirectory()) return 0
        def matchers = patterns.collectMany { pattern ->
            def all = pattern.endsWith('/') ? pattern + '**' : pattern
            [all, all.replace('**/', '')].unique()
        }.collect { FileSystems.default.getPathMatcher("glob:${it}") }
        int number = 0
        from.eachFileRecurse { file ->
            def relative = from.toPath().relativize(file.toPath())
            if (!file.isFile() || !matchers.any { it.matches(relative) }) return
            File target = new File(to, relative.toString())
            target.parentFile.mkdirs()
            Files.copy(file.toPath(), target.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES)
            number++
        }
        number
    }
}

/** `env`: reads the context; a value that a script sets is seen by all later steps of the build. */
class Environment {
    static final Map<String, String> SET = Collections.synchronizedMap([:])

    def propertyMissing(String name) { Context.current().env[name] ?: SET[name] }

    def propertyMissing(String name, value) { SET[name] = value.toString() }

    Map<String, String> getEnvironment() { SET + Context.current().env }
}

/** `currentBuild`. */
class CurrentBuild {
    private final Build build

    CurrentBuild(Build build) { this.build = build }

    String getResult() { build.result }

    void setResult(String to) { build.worsen(to) }

    String getCurrentResult() { build.currentResult }

    String getDescription() { build.description }

    void setDescription(String to) { build.description = to }

    String getDisplayName() { build.displayName }

    void setDisplayName(String to) { build.displayName = to }

    int getNumber() { build.number }

    String getFullDisplayName() { "${build.spec.job ?: 'jeeves'} ${build.displayName}" }

    String getAbsoluteUrl() { "http://jenkins.invalid/job/${build.spec.job ?: 'jeeves'}/${build.number}/" }

    Map getPreviousBuild() { build.spec.previous as Map }

    CurrentBuild getRawBuild() { this }

    List<String> getLog(int lines) { new ArrayList<>(build.log).takeRight(lines) }
}

/** The result of the stage that a thread is in. */
class StageStatus {
    private static final ThreadLocal<StageStatus> CURRENT = new ThreadLocal<>()
    final StageStatus parent
    volatile String result

    StageStatus(StageStatus parent) { this.parent = parent }

    static StageStatus current() { CURRENT.get() }

    static void enter(StageStatus status) { CURRENT.set(status) }

    synchronized void worsen(String to) {
        if (result == null || Build.RESULTS.indexOf(to) > Build.RESULTS.indexOf(result)) result = to
        parent?.worsen(to)
    }

    String getCurrentResult() { result ?: 'SUCCESS' }
}
