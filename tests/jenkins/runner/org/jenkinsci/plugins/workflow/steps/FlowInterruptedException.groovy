package org.jenkinsci.plugins.workflow.steps

/** Thrown in a step when the build is stopped. */
class FlowInterruptedException extends RuntimeException {
    FlowInterruptedException(String message) {
        super(message)
    }
}
