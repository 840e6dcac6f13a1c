package trouter

// These variables make functions that write and read payloads of long polls available to tests
// outside the package.
var (
	ParsePayload  = parsePayload
	AppendPayload = appendPayload
)

// Held returns the number of events that all endpoints remember as written, and how many of
// these still hold the event itself in memory.
func (h *Handler) Held() (flights, events int) {
	for _, e := range h.endpoints.all() {
		e.mu.Lock()
		for _, f := range e.flights {
			flights++
			if f.event != nil {
				events++
			}
		}
		e.mu.Unlock()
	}
	return flights, events
}
