package sse

import "github.com/confab-chat/confab/internal/gateway"

// AppendEvent and AppendString make unexported functions of package sse available to its external
// tests.
var (
	AppendEvent  = func(e *gateway.Event, user string) []byte { return appendEvent(nil, e, appendString(nil, user)) }
	AppendString = appendString
)
