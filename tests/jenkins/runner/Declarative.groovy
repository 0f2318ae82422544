import groovy.transform.TupleConstructor

/** The directives of one block, in the order they were written. */
class Block {
    final List<Map> calls = []
    final Map<String, Object> assigned = [:]

    static Block of(Closure given) {
        def block = new Block()
        // A copy: the cells of a matrix read the same block at the same time.
        Closure body = given.clone() as Closure
        body.delegate = new Recorder(block)
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body.call()
        block
    }

    Map one(String name) { calls.find { it.name == name } }

    Closure closure(String name) { one(name)?.args?.find { it instanceof Closure } as Closure }

    List<Map> all(String name) { calls.findAll { it.name == name } }
}

/** Takes down what a block calls and assigns. */
@TupleConstructor
class Recorder {
    Block block

    def methodMissing(String name, Object arguments) {
        def call = [name: name, args: arguments as List]
        block.calls << call
        call
    }

    def propertyMissing(String name) {
        if (name in ['any', 'none']) return name
        if (block.assigned.containsKey(name)) return block.assigned[name]
        Steps.instance.variable(name)
    }

    def propertyMissing(String name, Object value) { block.assigned[name] = value }
}

/** Executes a `pipeline { … }` block. */
class Declarative {
    static final List<String> POST = ['always', 'changed', 'fixed', 'regression', 'aborted', 'failure', 'success', 'unstable', 'unsuccessful', 'notBuilt', 'cleanup']

    final Build build
    boolean reached
    Map<String, Map> options = [:]

    Declarative(Build build) { this.build = build }

    void run(Closure body) {
        def top = Block.of(body)
        readParameters(top)
        options = optionsOf(top)
        build.event('pipeline', [options: options.keySet() as List, triggers: top.closure('triggers') ? Block.of(top.closure('triggers')).calls*.name : []])
        reached = build.spec.restartFrom == null
        Context start = Context.current().withEnv(build.params.collectEntries { [it.key, it.value.toString()] })
        start.run {
            guarded('the build') {
                wrapped(options) { allocate(top.one('agent'), null) { stagesAndPost(top) } }
            }
        }
    }

    private void stagesAndPost(Block top) {
        Closure content = {
            withEnvironment(top.closure('environment'), true) {
                try {
                    stages(Block.of(top.closure('stages')).all('stage'))
                } catch (Throwable failed) {
                    failure(failed)
                }
                post(top.closure('post'), build.currentResult, build.spec.previous?.result as String)
            }
        }
        content.call()
    }

    private void guarded(String what, Closure body) {
        try {
            body.call()
        } catch (Throwable failed) {
            failure(failed)
        }
        if (build.result == null) build.result = 'SUCCESS'
    }

    private void failure(Throwable failed) {
        String result = failed instanceof Interrupted ? failed.result : 'FAILURE'
        build.worsen(result)
        if (!(failed instanceof Reported)) build.say("${failed instanceof Interrupted ? '' : 'ERROR: '}${failed.message ?: failed}")
    }

    // --- directives ----------------------------------------------------------------------------------------------

    private void readParameters(Block top) {
        if (!top.closure('parameters')) return
        Block.of(top.closure('parameters')).calls.each { call ->
            Map definition = call.args[0] as Map
            def given = (build.spec.params ?: [:])[definition.name]
            def initial = call.name == 'choice' ? (definition.choices instanceof String ? definition.choices.readLines() : definition.choices)[0] : definition.defaultValue
            def value = given == null ? initial : given
            if (call.name == 'choice' && !((definition.choices instanceof String ? definition.choices.readLines() : definition.choices).contains(value))) {
                throw new StepFailed("Illegal choice for parameter ${definition.name}: ${value}")
            }
            build.params[definition.name as String] = call.name == 'booleanParam' ? value.toString().toBoolean() : (value ?: '').toString()
        }
        def known = build.params.keySet()
        def unknown = (build.spec.params ?: [:]).keySet() - known
        if (unknown) throw new StepFailed("unknown parameters: ${unknown.join(', ')}")
    }

    private static Map<String, Map> optionsOf(Block block) {
        if (!block.closure('options')) return [:]
        Block.of(block.closure('options')).calls.collectEntries { call -> [(call.name): call] }
    }

    /** Options that are block steps, around something. */
    private Object wrapped(Map<String, Map> around, Closure body) {
        def names = around.keySet().findAll { it in ['timeout', 'retry', 'lock', 'timestamps', 'ansiColor', 'catchError', 'warnError', 'withEnv', 'withCredentials'] }
        names.toList().reverse().inject(body) { Closure inner, String name ->
            { -> Steps.instance.invokeStep(name, around[name].args + [{ -> inner.call() }]) }
        }.call()
    }

    private Object withEnvironment(Closure block, boolean keepSecrets, Closure body) {
        if (block == null) return body.call()
        Context context = Context.current()
        def collected = new Block()
        block = block.clone() as Closure
        block.delegate = new EnvironmentValues(collected)
        block.resolveStrategy = Closure.DELEGATE_FIRST
        block.call()
        def values = [:]
        def secrets = []
        collected.assigned.each { name, value ->
            if (value instanceof Credential) {
                String secret = Steps.bound(build, [credentialsId: value.id, variable: 'x']).x
                secrets << secret
                values[name] = secret
                if (secret.contains(':')) {
                    values[name + '_USR'] = secret.split(':', 2)[0]
                    values[name + '_PSW'] = secret.split(':', 2)[1]
                    secrets << values[name + '_PSW']
                }
            } else {
                values[name] = value.toString()
            }
        }
        build.secrets.addAll(secrets)
        try {
            return context.withEnv(values as Map<String, String>).run(body)
        } finally {
            secrets.each { build.secrets.remove(it) }
        }
    }

    // --- agents --------------------------------------------------------------------------------------------------

    private Object allocate(Map agent, Map stageOptions, Closure body) {
        if (agent == null) return body.call()
        def given = agent.args[0]
        if (given == 'none') return Context.current().with(agent: null, folder: null).run(body)
        String label = null
        if (given instanceof Closure) {
            Map type = Block.of(given).calls[0]
            label = type.args[0] instanceof Closure ? Block.of(type.args[0] as Closure).one('label')?.args?.getAt(0) : type.args[0]
        }
        onAgent(build, Context.current(), label?.toString()) { Context context ->
            context.run {
                if (!('skipDefaultCheckout' in options.keySet()) && build.spec.source) Steps.instance.checkout('scm')
                body.call()
            }
        }
    }

    /** Wait for a free executor of an agent with the label, and work there in a folder of the build's own job. */
    static Object onAgent(Build build, Context context, String label, Closure body) {
        def agents = (build.spec.agents ?: [[name: 'built-in', labels: []]]).findAll { matches(label, it.labels as List) }
        if (!agents) {
            build.say("There are no nodes with the label '${label}'")
            throw new StepFailed("no agent has the label '${label}'")
        }
        Map agent = agents.find { !(it.name in build.lostAgents) } as Map
        if (agent == null) throw new AgentLost(agents[0].name as String)
        File folder = build.lease(agent.name as String)
        try {
            build.event('agent', [name: agent.name, stage: context.path])
            return body.call(context.with(agent: agent, folder: folder, env: context.env + [NODE_NAME: agent.name.toString(), WORKSPACE: folder.path]))
        } finally {
            build.leased.remove(folder.name)
        }
    }

    /** `a && b`, `a || b`, `!a`, as Jenkins' label expressions without parentheses. */
    static boolean matches(String label, List<String> labels) {
        if (!label) return true
        label.split(/\|\|/).any { either ->
            either.split('&&').every { part ->
                String name = part.trim()
                name.startsWith('!') ? !(name.substring(1) in labels) : name in labels
            }
        }
    }

    // --- stages --------------------------------------------------------------------------------------------------

    private void stages(List<Map> calls) {
        Throwable failed = null
        calls.each { call ->
            String name = call.args[0]
            boolean skipUnstable = 'skipStagesAfterUnstable' in options.keySet() && build.currentResult == 'UNSTABLE'
            if (failed != null || skipUnstable) {
                skipped(name, failed != null ? 'an earlier failure' : 'an earlier unstable stage')
                return
            }
            try {
                stage(name, call.args.find { it instanceof Closure } as Closure)
            } catch (Throwable problem) {
                failed = problem
                failure(problem)
            }
        }
        if (failed != null) throw new Reported(failed)
    }

    private void skipped(String name, String reason) {
        build.event('stage-skipped', [path: Context.current().path + [name], reason: reason])
    }

    private void stage(String name, Closure body, Map<String, String> axes = [:]) {
        Context context = Context.current()
        if (!reached) {
            if (context.path.isEmpty() && name == build.spec.restartFrom) {
                reached = true
            } else if (context.path.isEmpty()) {
                skipped(name, 'the restart')
                return
            }
        }
        build.check(context)
        def block = Block.of(body)
        def status = new StageStatus(StageStatus.current())
        context.with(path: context.path + [name], env: context.env + axes + [STAGE_NAME: name]).run {
            long started = System.nanoTime()
            def before = StageStatus.current()
            StageStatus.enter(status)
            build.event('stage-start', [path: Context.current().path])
            boolean ran = true
            try {
                ran = content(name, block, status)
            } catch (Throwable failed) {
                status.worsen(failed instanceof Interrupted ? failed.result : 'FAILURE')
                throw failed
            } finally {
                StageStatus.enter(before)
                double seconds = (System.nanoTime() - started) / 1e9d
                build.event(ran ? 'stage-end' : 'stage-skipped', [path: Context.current().path, result: status.currentResult, reason: 'its condition', seconds: seconds])
            }
        }
    }

    /** A stage's own order: options, early conditions, input, agent, environment, conditions, content, post. */
    private boolean content(String name, Block block, StageStatus status) {
        def when = block.closure('when') ? Block.of(block.closure('when')) : null
        boolean early = when?.calls?.any { it.name in ['beforeAgent', 'beforeInput', 'beforeOptions'] && it.args[0] }
        boolean ran = true
        if (early && !conditions(when)) return false
        wrapped(optionsOf(block)) {
            def answers = ask(name, block)
            Context.current().withEnv(answers).run {
                allocate(block.one('agent'), null) {
                    withEnvironment(block.closure('environment'), false) {
                        if (!early && when != null && !conditions(when)) {
                            ran = false
                            return
                        }
                        Throwable failed = null
                        try {
                            work(block)
                        } catch (Throwable problem) {
                            failed = problem
                            String result = problem instanceof Interrupted ? problem.result : 'FAILURE'
                            status.worsen(result)
                            build.worsen(result)
                        }
                        post(block.closure('post'), status.currentResult, null)
                        if (failed != null) throw failed
                    }
                }
            }
        }
        ran
    }

    private void work(Block block) {
        if (block.closure('steps')) {
            Steps.instance.body(Context.current(), block.closure('steps'))
        } else if (block.closure('stages')) {
            stages(Block.of(block.closure('stages')).all('stage'))
        } else if (block.closure('parallel')) {
            def branches = Block.of(block.closure('parallel')).all('stage').collectEntries { call ->
                [(call.args[0]): { -> reportedStage(call.args[0] as String, call.args[1] as Closure, [:]) }]
            }
            Steps.runParallel(branches, failFast(block))
        } else if (block.closure('matrix')) {
            matrix(Block.of(block.closure('matrix')), failFast(block))
        }
    }

    private boolean failFast(Block block) { block.one('failFast')?.args?.getAt(0) || 'parallelsAlwaysFailFast' in options.keySet() }

    private void reportedStage(String name, Closure body, Map<String, String> axes) {
        try {
            stage(name, body, axes)
        } catch (Throwable failed) {
            failure(failed)
            throw new Reported(failed)
        }
    }

    private void matrix(Block matrix, boolean failFast) {
        def axes = axesOf(matrix.closure('axes'))
        def cells = axes.inject([[:]]) { cells, axis -> cells.collectMany { cell -> axis.values.collect { cell + [(axis.name): it] } } }
        def excludes = matrix.closure('excludes') ? Block.of(matrix.closure('excludes')).all('exclude').collect { axesOf(it.args[0] as Closure) } : []
        cells = cells.findAll { cell ->
            !excludes.any { exclude -> exclude.every { axis -> axis.not ? !(cell[axis.name] in axis.values) : cell[axis.name] in axis.values } }
        }
        def branches = cells.collectEntries { cell ->
            String name = 'Matrix - ' + cell.collect { "${it.key} = '${it.value}'" }.join(', ')
            Closure asStage = { ->
                matrix.calls.findAll { !(it.name in ['axes', 'excludes']) }.each { call -> delegate.methodMissing(call.name, call.args as Object[]) }
            }
            [(name): { -> reportedStage(name, asStage, cell.collectEntries { [it.key, it.value.toString()] }) }]
        }
        Steps.runParallel(branches, failFast)
    }

    private static List<Map> axesOf(Closure block) {
        Block.of(block).all('axis').collect { call ->
            def axis = Block.of(call.args[0] as Closure)
            [name: axis.one('name').args[0], values: (axis.one('values') ?: axis.one('notValues')).args, not: axis.one('notValues') != null]
        }
    }

    private Map<String, String> ask(String name, Block block) {
        def section = block.one('input')
        if (section == null) return [:]
        if (!(section.args[0] instanceof Closure)) {
            Steps.instance.input([message: section.args[0], id: name])
            return [:]
        }
        def fields = Block.of(section.args[0] as Closure)
        def given = fields.calls.findAll { it.name != 'parameters' }.collectEntries { [it.name, it.args[0]] }
        def parameters = fields.closure('parameters') ? Block.of(fields.closure('parameters')).calls*.args*.getAt(0) : []
        def answer = Steps.instance.input([id: name] + given + [parameters: parameters])
        if (answer == null) return [:]
        def names = parameters*.name + (given.submitterParameter ? [given.submitterParameter] : [])
        (answer instanceof Map ? answer : [(names[0]): answer]).collectEntries { [it.key, it.value.toString()] }
    }

    // --- conditions ----------------------------------------------------------------------------------------------

    private boolean conditions(Block when) {
        when.calls.findAll { !(it.name in ['beforeAgent', 'beforeInput', 'beforeOptions']) }.every { condition(it) }
    }

    private boolean condition(Map call) {
        def first = call.args ? call.args[0] : null
        def inside = { Block.of(first as Closure).calls }
        Map env = Context.current().env
        switch (call.name) {
            case 'expression':
                def value = Steps.instance.body(Context.current(), first as Closure)
                return value
            case 'not': return !condition(inside()[0])
            case 'allOf': return inside().every { condition(it) }
            case 'anyOf': return inside().any { condition(it) }
            case 'environment': return first.ignoreCase ? env[first.name]?.equalsIgnoreCase(first.value) : env[first.name] == first.value
            case 'equals': return first.expected == first.actual
            case 'branch': return globMatches(first instanceof Map ? first.pattern : first, env.BRANCH_NAME)
            case 'tag': return globMatches(first instanceof Map ? first.pattern : first ?: '*', env.TAG_NAME)
            case 'buildingTag': return env.TAG_NAME != null
            case 'changeRequest': return env.CHANGE_ID != null
            case 'isRestartedRun': return build.spec.restartFrom != null
            case 'triggeredBy': return (first instanceof Map ? first.cause : first) == build.spec.cause
            case 'changeset': return (build.spec.changes ?: []).any { globMatches(first instanceof Map ? first.pattern : first, it) }
            default: throw new StepFailed("Unknown conditional ${call.name}")
        }
    }

    private static boolean globMatches(Object pattern, Object name) {
        name != null && java.nio.file.FileSystems.default.getPathMatcher("glob:${pattern}").matches(new File(name.toString()).toPath())
    }

    // --- post ----------------------------------------------------------------------------------------------------

    private void post(Closure section, String result, String previous) {
        if (section == null) return
        def block = Block.of(section)
        POST.each { name ->
            def body = block.closure(name)
            if (body == null || !applies(name, result, previous)) return
            build.event('post', [condition: name, path: Context.current().path])
            try {
                Steps.instance.body(Context.current().with(inPost: true, deadline: Long.MAX_VALUE), body)
            } catch (Throwable failed) {
                build.say("Error when executing ${name} post condition: ${failed.message}")
                failure(failed)
            }
        }
    }

    private static boolean applies(String name, String result, String previous) {
        switch (name) {
            case ['always', 'cleanup']: return true
            case 'changed': return previous != result
            case 'fixed': return previous in ['FAILURE', 'UNSTABLE'] && result == 'SUCCESS'
            case 'regression': return previous != null && Build.RESULTS.indexOf(result) > Build.RESULTS.indexOf(previous)
            case 'unsuccessful': return result != 'SUCCESS'
            case 'notBuilt': return result == 'NOT_BUILT'
            default: return result == name.toUpperCase()
        }
    }
}

/** A failure that the log has already. */
class Reported extends RuntimeException {
    Reported(Throwable cause) { super(cause.message, cause instanceof Reported ? cause.cause : cause) }
}

/** `credentials('id')` in an environment block. */
@TupleConstructor
class Credential {
    String id
}

/** Values of an environment block: texts, and calls of `credentials` or of steps. */
@TupleConstructor
class EnvironmentValues {
    Block block

    def credentials(String id) { new Credential(id) }

    def methodMissing(String name, Object arguments) { Steps.instance.invokeStep(name, arguments as List) }

    def propertyMissing(String name) {
        block.assigned.containsKey(name) ? block.assigned[name] : Steps.instance.variable(name)
    }

    def propertyMissing(String name, Object value) { block.assigned[name] = value }
}
