package trouter

// The codec of polling payloads, for tests.
var (
	ParsePayload  = parsePayload
	AppendPayload = appendPayload
)
