// Package bench measures Confab against bare limits, in pairs within one run.
// Only the ratios mean anything: the machine is shared and the disk is whatever
// it is.
package bench
