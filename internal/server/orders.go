package server

import "github.com/confab-chat/confab/internal/admin"

// What the operator routes below /confab/ answer, for the command line.
type (
	Key        = admin.Key
	RotatedKey = admin.RotatedKey
	User       = admin.User
	Thread     = admin.Thread
	Threads    = admin.Threads
	Backup     = admin.Backup

	BackupOrder = admin.BackupOrder
)
