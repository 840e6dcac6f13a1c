module github.com/confab-chat/confab/compat/go

go 1.25.0

require github.com/confab-chat/confab/sdk v0.0.0

require (
	github.com/Azure/azure-sdk-for-go/sdk/azcore v1.12.0 // indirect
	github.com/Azure/azure-sdk-for-go/sdk/internal v1.9.0 // indirect
	golang.org/x/net v0.26.0 // indirect
	golang.org/x/text v0.16.0 // indirect
)

replace github.com/confab-chat/confab/sdk => ../../sdk
