package hudson.model

/** What a trigger names as its threshold. */
enum Result {
    SUCCESS, UNSTABLE, FAILURE, NOT_BUILT, ABORTED
}
