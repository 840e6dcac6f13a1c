// Package bench measures Confab against lower bounds such as a plain log. Both
// sides of a comparison run in turn within one process. Only their ratio is
// meaningful, because absolute figures depend on the machine and its load.
package bench
