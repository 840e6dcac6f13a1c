//go:build !race

package core_test

// raceSlows is the greatest factor by which the race detector slows code down. It is 1 because
// the race detector is off.
const raceSlows = 1
