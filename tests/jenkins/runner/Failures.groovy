import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** A step failed, as Jenkins' AbortException: the message is all there is to say. */
class StepFailed extends RuntimeException {
    StepFailed(String message) {
        super(message)
    }
}

/** No plugin of the controller gives such a step. */
class NoSuchStep extends NoSuchMethodError {
    NoSuchStep(String name) {
        super("No such DSL method '${name}' found among steps")
    }
}

/** The build, or a part of it, was stopped; the result is that of whoever stopped it. */
class Interrupted extends FlowInterruptedException {
    final String result

    Interrupted(String message, String result = 'ABORTED') {
        super(message)
        this.result = result
    }
}

/** The connection to the agent broke while a step ran on it. */
class AgentLost extends RuntimeException {
    AgentLost(String agent) {
        super("Agent ${agent} was lost: the connection broke")
    }
}
