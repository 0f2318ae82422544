import com.cloudbees.groovy.cps.NonCPS

/**
 * Ask Jeeves a question about Jenkins.
 *
 *   def told = jeevesAsk(question: 'How do I keep a secret out of the log?', credentialsId: 'jeeves-api-key')
 *
 * @param a question; optional: url, credentialsId, timeoutSeconds (30)
 * @return answer and sources; null if Jeeves is off, down, slow or limiting
 */
Map call(Map a) {
    String question = jeevesGateway.mask(a.question as String, jeevesGateway.secretValues(env.getEnvironment()))
    String body = jeevesGateway.json([model: 'jeeves', messages: [[role: 'user', content: question]]])
    Map reply = jeevesGateway.exchange('/v1/chat/completions', 'application/json', body, a)
    return reply == null ? null : shaped(reply)
}

Map call(String question) {
    return call([question: question])
}

@NonCPS
private Map shaped(Map reply) {
    Map message = (reply.choices ? reply.choices[0].message : [:]) as Map
    [
        answer: message.content ?: '',
        sources: (message.annotations ?: []).collect { it.url_citation?.url ?: it.url_citation?.title }.findAll { it },
    ]
}
