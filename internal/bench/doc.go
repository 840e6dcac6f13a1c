// Package bench measures Confab against simpler programs that do the least possible work for
// the same result, such as appending to a file. Both sides of a comparison run alternately
// within one process. Only their ratio is meaningful, because absolute figures depend on the
// machine and its load. The type Disk is an exception: it measures a machine for its operator,
// and compares nothing.
package bench
