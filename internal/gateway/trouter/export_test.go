package trouter

// The codec of polling payloads, for tests.
var (
	ParsePayload  = parsePayload
	AppendPayload = appendPayload
)

// Held returns the number of flights of all endpoints, and how many of them hold their event.
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
