module github.com/confab-chat/confab/compat/answers

go 1.25.0

require (
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3
	golang.org/x/text v0.14.0
)
