// Reads one JSON line a file from standard input, {"name": …, "text": …}, and writes one JSON line: its syntax errors,
// or its statements as plain lists and maps. Groovy's own parser up to CONVERSION: no class is looked up, nothing of the
// file is compiled to code or run. Written by this program, read by `groovy_ast.py`.
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException
import org.codehaus.groovy.control.Phases
import org.codehaus.groovy.control.messages.SyntaxErrorMessage

class Dump {
    static Map node(String kind, ASTNode at, Map fields = [:]) {
        [kind: kind, line: at.lineNumber, column: at.columnNumber] + fields
    }

    static List statements(Statement body) {
        if (body == null || body instanceof EmptyStatement) return []
        body instanceof BlockStatement ? body.statements.findAll { !(it instanceof EmptyStatement) }.collect { statement(it) } : [statement(body)]
    }

    static Map statement(Statement it) {
        it.statementLabels ? node('other', it, [type: 'Label', name: it.statementLabels[0], children: [plain(it)]]) : plain(it)
    }

    static Map plain(Statement it) {
        switch (it) {
            case ExpressionStatement: return expression(it.expression)
            case ReturnStatement: return node('other', it, [type: 'Return', children: [expression(it.expression)]])
            case BlockStatement: return node('other', it, [type: 'Block', children: statements(it)])
            case IfStatement:
                return node('other', it, [type: 'If', children: [expression(it.booleanExpression)] + statements(it.ifBlock) + statements(it.elseBlock)])
            case ForStatement:
                return node('other', it, [type: 'For', parameters: [it.variable.name], children: [expression(it.collectionExpression)] + statements(it.loopBlock)])
            case WhileStatement:
                return node('other', it, [type: 'While', children: [expression(it.booleanExpression)] + statements(it.loopBlock)])
            case TryCatchStatement:
                return node('other', it, [type: 'Try', parameters: it.catchStatements*.variable*.name, children: statements(it.tryStatement) + it.catchStatements.collectMany { c -> statements(c.code) } + statements(it.finallyStatement)])
            case SwitchStatement:
                return node('other', it, [type: 'Switch', children: [expression(it.expression)] + it.caseStatements.collectMany { c -> [expression(c.expression)] + statements(c.code) } + statements(it.defaultStatement)])
            case ThrowStatement: return node('other', it, [type: 'Throw', children: [expression(it.expression)]])
            case AssertStatement: return node('other', it, [type: 'Assert', children: [expression(it.booleanExpression)]])
            default: return node('other', it, [type: it.class.simpleName, children: []])
        }
    }

    static List arguments(Expression it) {
        it instanceof TupleExpression ? it.expressions.collect { e -> expression(e) } : [expression(it)]
    }

    static Map expression(Expression it) {
        switch (it) {
            case MethodCallExpression:
                return node('call', it.implicitThis ? it.method.lineNumber > 0 ? it.method : it : it, [
                    name: it.methodAsString, object: it.implicitThis ? null : expression(it.objectExpression),
                    arguments: arguments(it.arguments)])
            case ConstructorCallExpression:
                return node('new', it, [name: it.type.name, arguments: arguments(it.arguments)])
            case ClosureExpression:
                return node('closure', it, [parameters: it.parameters?.collect { p -> p.name } ?: [], body: statements(it.code)])
            case GStringExpression:
                return node('gstring', it, [text: it.text, values: it.values.collect { v -> expression(v) }])
            case ConstantExpression:
                def value = it.value
                return node('constant', it, [type: value == null ? 'null' : value.class.simpleName, value: value == null ? null : value instanceof Boolean ? value : value.toString()])
            case DeclarationExpression:
                return node('declaration', it, [children: [expression(it.leftExpression), expression(it.rightExpression)]])
            case BinaryExpression:
                return node('binary', it, [operator: it.operation.text, children: [expression(it.leftExpression), expression(it.rightExpression)]])
            case VariableExpression: return node('variable', it, [name: it.name])
            case PropertyExpression: return node('property', it, [name: it.propertyAsString, object: expression(it.objectExpression)])
            case MapExpression:
                return node('map', it, [entries: it.mapEntryExpressions.collect { e -> [expression(e.keyExpression), expression(e.valueExpression)] }])
            case TupleExpression: return node('list', it, [children: it.expressions.collect { e -> expression(e) }])
            case ListExpression: return node('list', it, [children: it.expressions.collect { e -> expression(e) }])
            case ArrayExpression: return node('other', it, [type: 'Array', children: it.expressions.collect { e -> expression(e) }])
            case TernaryExpression:
                return node('other', it, [type: 'Ternary', children: [it.booleanExpression, it.trueExpression, it.falseExpression].collect { e -> expression(e) }])
            case ClosureListExpression: return node('other', it, [type: 'ClosureList', children: it.expressions.collect { e -> expression(e) }])
            case BooleanExpression: return expression(it.expression)
            case CastExpression: return node('other', it, [type: 'Cast', children: [expression(it.expression)]])
            case RangeExpression: return node('other', it, [type: 'Range', children: [expression(it.from), expression(it.to)]])
            case SpreadExpression: return node('other', it, [type: 'Spread', children: [expression(it.expression)]])
            case UnaryMinusExpression:
            case UnaryPlusExpression:
            case BitwiseNegationExpression:
            case PrefixExpression:
            case PostfixExpression:
                return node('other', it, [type: it.class.simpleName - 'Expression', children: [expression(it.expression)]])
            default: return node('other', it, [type: it.class.simpleName, children: []])
        }
    }

    static Map file(String text) {
        def unit = new CompilationUnit(new CompilerConfiguration(sourceEncoding: 'UTF-8'))
        def source = unit.addSource('Jenkinsfile', text)
        try {
            unit.compile(Phases.CONVERSION)
        } catch (MultipleCompilationErrorsException failed) {
            def errors = failed.errorCollector.errors.collect {
                it instanceof SyntaxErrorMessage ?
                    [line: it.cause.startLine, column: it.cause.startColumn, message: it.cause.originalMessage] :
                    [line: 1, column: 1, message: it.toString()]
            }
            return [errors: errors]
        } catch (CompilationFailedException failed) {
            return [errors: [[line: 1, column: 1, message: failed.message]]]
        }
        def module = source.AST
        def methods = module.classes*.methods.flatten() + module.methods
        return [
            errors: [],
            statements: statements(module.statementBlock),
            functions: methods.unique().findAll { !(it.name in ['run', 'main']) }.collect { [name: it.name, parameters: it.parameters*.name, inClass: !(it in module.methods), body: statements(it.code)] },
            imports: (module.imports*.annotations + module.classes*.annotations).flatten()*.classNode*.name
        ]
    }
}

System.in.withReader('UTF-8') { reader ->
    def out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8')
    String line
    while ((line = reader.readLine()) != null) {
        def request = new JsonSlurper().parseText(line)
        def answer
        try {
            answer = Dump.file(request.text)
        } catch (StackOverflowError ignored) {
            answer = [errors: [[line: 1, column: 1, message: 'nested too deeply']]]
        }
        out.println(JsonOutput.toJson([name: request.name] + answer))
    }
}
