import groovy.json.JsonOutput
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.locks.ReentrantLock

/** One build: what the test asked for, where its files lie, its result, and the events that the test reads. */
class Build {
    static final List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'NOT_BUILT', 'ABORTED']

    final Map spec
    final File state
    final Map<String, Object> params = [:].asSynchronized()
    final Map<String, ReentrantLock> locks = new ConcurrentHashMap<>()
    final List<String> secrets = new CopyOnWriteArrayList<>()
    final List<String> log = Collections.synchronizedList([])
    final List<Process> processes = new CopyOnWriteArrayList<>()
    final Set<String> leased = Collections.synchronizedSet([] as Set)
    final Set<String> lostAgents = Collections.synchronizedSet([] as Set)
    final Map<String, Map> answers = new ConcurrentHashMap<>()
    final PrintStream out
    volatile String result
    volatile String description
    volatile String displayName
    volatile boolean aborted
    Map<String, Object> libraries = [:]
    Script script

    Build(Map spec, PrintStream out) {
        this.spec = spec
        this.out = out
        state = new File(spec.state as String)
        state.mkdirs()
        displayName = "#${number}"
    }

    int getNumber() { (spec.number ?: 1) as int }

    synchronized void event(String name, Map fields = [:]) {
        out.println(JsonOutput.toJson([event: name] + fields))
        out.flush()
    }

    /** One line of the console, with the secrets that are bound at the moment replaced. */
    void say(String text) {
        String masked = text
        secrets.toList().sort { -it.size() }.each { secret -> masked = masked.replace(secret, '****') }
        masked.readLines().each { line ->
            log << line
            event('log', [line: line])
        }
    }

    /** A workspace that no one else uses at the moment: the agent's own, else the same with @2, @3, … */
    synchronized File lease(String agent) {
        String name = (1..100).collect { it == 1 ? agent : "${agent}@${it}".toString() }.find { !(it in leased) }
        leased << name
        File folder = new File(state, "workspaces/${name}")
        folder.mkdirs()
        folder
    }

    /** Results only get worse. */
    synchronized void worsen(String to) {
        if (result == null || RESULTS.indexOf(to) > RESULTS.indexOf(result)) result = to
    }

    String getCurrentResult() { result ?: 'SUCCESS' }

    void abort() {
        aborted = true
        say('Aborted by the test')
        processes.each { stop(it) }
    }

    void lose(String agent) {
        lostAgents << agent
        event('agent-lost', [agent: agent])
        // A machine that is gone says nothing to its processes.
        processes.each { stop(it, 'KILL') }
    }

    /** End a step's process and all that it started. */
    static void stop(Process process, String signal = 'TERM') {
        ["kill", "-${signal}".toString(), "--", "-${process.pid()}"].execute().waitFor()
        Thread.startDaemon {
            sleep(10_000)
            if (process.alive) ["kill", "-KILL", "--", "-${process.pid()}"].execute().waitFor()
        }
    }

    void check(Context context) {
        if (aborted && !context.inPost) throw new Interrupted('the build was aborted')
        if (context.agent != null && context.agent.name in lostAgents) throw new AgentLost(context.agent.name as String)
    }
}
