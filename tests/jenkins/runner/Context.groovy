/** Where a step runs: variables, agent, folder, stage. Never changed; blocks run with a copy. */
class Context {
    private static final ThreadLocal<Context> CURRENT = new ThreadLocal<>()

    final Build build
    final Map<String, String> env
    final Map agent
    final File folder
    final List<String> path
    final boolean inPost
    final long deadline

    Context(Map fields) {
        build = fields.build as Build
        env = Collections.unmodifiableMap((fields.env ?: [:]) as Map<String, String>)
        agent = fields.agent as Map
        folder = fields.folder as File
        path = (fields.path ?: []) as List<String>
        inPost = fields.inPost ?: false
        deadline = (fields.deadline ?: Long.MAX_VALUE) as long
    }

    static Context current() { CURRENT.get() }

    Context with(Map changes) {
        new Context([build: build, env: env, agent: agent, folder: folder, path: path, inPost: inPost, deadline: deadline] + changes)
    }

    Context withEnv(Map<String, String> more) { with(env: env + more) }

    /** Run something with this as the thread's context. */
    Object run(Closure body) {
        Context before = CURRENT.get()
        CURRENT.set(this)
        try {
            return body.call()
        } finally {
            CURRENT.set(before)
        }
    }

    File needFolder(String step) {
        if (folder == null) throw new StepFailed("Required context class hudson.FilePath is missing: ${step} needs an agent")
        folder
    }
}
