module github.com/confab-chat/confab/compat/go

go 1.25.0

require github.com/confab-chat/confab/sdk v0.0.0

replace github.com/confab-chat/confab/sdk => ../../sdk
