package load

import "slices"

// Order returns the order in which the nth round, counted from 0, measures the servers, as a list
// of their indexes. If n is even, the order is from the first server to the last; if n is odd, it
// is backwards. This way a machine that slows down during the rounds favours no server.
func Order(n, servers int) []int {
	order := make([]int, servers)
	for i := range order {
		order[i] = i
	}
	if n%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// Spread returns how far the given ratios differ: the largest divided by the smallest, minus 1.
func Spread(ratios []float64) float64 { return slices.Max(ratios)/slices.Min(ratios) - 1 }

// Median returns the median of xs, which must not be empty. For an even number of values it is
// the mean of the middle two.
func Median(xs []float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
