package com.cloudbees.groovy.cps

/** Marks methods that Jenkins runs as they are; here all are. */
@interface NonCPS {
}
