/** Base class of the Jenkinsfile and of the library's variables: what is not Groovy is a step. */
abstract class JenkinsScript extends Script {
    def methodMissing(String name, Object arguments) {
        Steps.instance.invokeStep(name, arguments as List)
    }

    def propertyMissing(String name) { Steps.instance.variable(name) }

    def pipeline(Closure body) { new Declarative(Context.current().build).run(body) }
}
