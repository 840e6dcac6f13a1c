//go:build !race

package core_test

// raceSlows is how many times slower the race detector makes code at most: it is off.
const raceSlows = 1
