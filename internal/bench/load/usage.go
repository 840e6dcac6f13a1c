package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/cputime"
)

// Usage is the CPU time and memory that a server process has used since its start.
type Usage struct {
	CPU time.Duration // user and system time; 0 if it is not known, as on most systems other than Linux
	// The fields below are 0 if the server does not serve its metrics (Server.Ops is empty).
	Allocations float64 // objects on the heap
	Allocated   float64 // their bytes
	Written     float64 // number of bytes that the embedded store has written to files; 0 for a reference server
	Heap        float64 // bytes in use now
	Resident    float64 // bytes of the process now
}

func (u Usage) less(b Usage) Usage {
	u.CPU -= b.CPU
	u.Allocations -= b.Allocations
	u.Allocated -= b.Allocated
	u.Written -= b.Written
	return u
}

// Usage returns the CPU time and memory that the server has used so far. The CPU time comes from
// the operating system, all other figures come from the server's metrics.
func (s *Server) Usage(ctx context.Context) (u Usage, err error) {
	if s.Ops != "" {
		if u, err = scrape(ctx, s.Ops+"/metrics"); err != nil {
			return u, err
		}
	}
	u.CPU, err = cputime.Process(s.PID)
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return u, err
}

// scrape reads those metrics that Usage contains from the page at the URL page, which is in the
// text format of Prometheus.
func scrape(ctx context.Context, page string) (u Usage, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", page, nil)
	if err != nil {
		return u, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return u, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return u, fmt.Errorf("status %d of %s", res.StatusCode, page)
	}
	return parseMetrics(res.Body)
}

func parseMetrics(in io.Reader) (u Usage, err error) {
	fields := map[string]*float64{
		"go_memstats_mallocs_total":          &u.Allocations,
		"go_memstats_alloc_bytes_total":      &u.Allocated,
		"go_memstats_heap_inuse_bytes":       &u.Heap,
		"process_resident_memory_bytes":      &u.Resident,
		"confab_storage_written_bytes_total": &u.Written,
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if field := fields[name]; field != nil {
			if *field, err = strconv.ParseFloat(value, 64); err != nil {
				return u, fmt.Errorf("metric %s: %w", name, err)
			}
		}
	}
	return u, lines.Err()
}
