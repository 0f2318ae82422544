import java.lang.annotation.ElementType
import java.lang.annotation.Target

/** What Jenkins offers as `@Library('name@version') _`. */
@Target([ElementType.LOCAL_VARIABLE, ElementType.FIELD, ElementType.TYPE, ElementType.PACKAGE])
@interface Library {
    String[] value()
}
