//go:build race

package core_test

// raceSlows is how many times slower the race detector makes code at most.
const raceSlows = 20
