package bench

import (
	"testing"
	"time"
)

func TestDisk(t *testing.T) {
	d, err := OpenDisk(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	const span = 50 * time.Millisecond
	if l, err := d.Flush(span); err != nil || l.Median <= 0 || l.P99 < l.Median {
		t.Errorf("flush: %+v, %v", l, err)
	}
	for _, senders := range []int{1, 16} {
		if rate, wait, err := d.Send(t.Context(), senders, span); err != nil || rate <= 0 || wait.Median <= 0 || wait.P99 < wait.Median {
			t.Errorf("%d senders: %.0f a second, %+v, %v", senders, rate, wait, err)
		}
	}
	written, kept, err := d.Footprint(t.Context(), 2000)
	if err != nil || written < MessageSize || kept <= 0 || kept > written {
		t.Errorf("%.0f bytes written and %.0f kept, %v", written, kept, err)
	}
}

func TestQuantile(t *testing.T) {
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, 99-i)
	}
	for _, tt := range []struct {
		in   []int
		q    float64
		want int
	}{
		{[]int{7}, 0.5, 7}, {[]int{7}, 0.99, 7}, {[]int{3, 1, 2}, 0.5, 2}, {hundred, 0.5, 50}, {hundred, 0.99, 99},
	} {
		if got := quantile(tt.in, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %d, want %d", tt.in, tt.q, got, tt.want)
		}
	}
}
