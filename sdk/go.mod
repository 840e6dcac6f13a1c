module github.com/confab-chat/confab/sdk

go 1.25.0
