//go:build race

package core_test

// raceSlows is the greatest factor by which the race detector slows code down.
const raceSlows = 20
