// Job DSL: the retraining pipeline, from the Jenkinsfile of the repository. Run by Configuration as Code at each start.
String repository = System.getenv('JEEVES_REPOSITORY')
String revision = System.getenv('JEEVES_REVISION') ?: 'main'

folder('jeeves') {
    displayName('Jeeves')
    description('Retraining and promotion of the assistant')
}

pipelineJob('jeeves/retrain') {
    displayName('Retrain')
    description('Documents in; a gated, watched and promoted model out')
    definition {
        cpsScm {
            scm {
                git {
                    remote {
                        url(repository)
                    }
                    branch(revision)
                }
            }
            scriptPath('Jenkinsfile')
            lightweight(true)
        }
    }
}
