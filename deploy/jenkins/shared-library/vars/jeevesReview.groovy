/**
 * Let Jeeves read a pipeline or another file of the workspace and say what it would change.
 *
 *   jeevesReview(file: 'Jenkinsfile')
 *
 * @param a file or text; optional: question, url, credentialsId, timeoutSeconds (60)
 * @return answer and sources; null if the file cannot be read, or Jeeves is off, down, slow or limiting
 */
Map call(Map a) {
    if (jeevesGateway.off()) {
        return null
    }
    if (a.text == null && !fileExists(a.file as String)) {
        echo "Jeeves: no review, there is no file ${a.file}. The build is not affected."
        return null
    }
    String text = a.text ?: readFile(a.file as String)
    // What is longer than the model's context would only be cut there.
    String shown = text.length() > 8000 ? text.substring(0, 8000) : text
    String question = a.question ?: 'Which mistakes does this Jenkins pipeline have, and how are they mended?'
    Map reply = jeevesAsk([timeoutSeconds: 60] + a.findAll { it.key in ['url', 'credentialsId', 'timeoutSeconds'] } + [question: "${question}\n\n```groovy\n${shown}\n```"])
    if (reply != null) {
        echo "──── Jeeves' review of ${a.file ?: 'the text'} ────\n${reply.answer}"
    }
    return reply
}
