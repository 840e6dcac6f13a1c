//go:build ignore

// This program runs a block of code from a page of the documents. The script follow.py puts the
// code into the function block.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// text is the chat message that the block of code must print. The block sends the message itself,
// or main sends it.
const text = "Where do we eat?"

func block(ctx context.Context, endpoint string, cred azcore.TokenCredential, client *chat.Client, thread *chat.ThreadClient,
	cursor, stored string, store func(cursor string)) error {
	{
		// The block of the page.
	}
	return nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids, err := identity.NewClientFromConnectionString(os.Getenv("CONFAB_CONNECTION_STRING"), nil)
	check(err)
	ann, err := ids.CreateUser(ctx, nil)
	check(err)
	cred, endpoint := ids.NewTokenCredential(ann, nil), os.Getenv("CONFAB_ENDPOINT")
	client, err := chat.NewClient(endpoint, cred, nil)
	check(err)
	made, err := client.CreateThread(ctx, "lunch", nil)
	check(err)

	screen := os.Stdout
	out, in, err := os.Pipe()
	check(err)
	os.Stdout = in
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- block(running, endpoint, cred, client, client.NewThreadClient(made.Thread.ID), "", "", func(string) {})
		in.Close()
	}()
	go func() { // send messages until the block of code prints one, because main does not know when the block begins to listen
		for running.Err() == nil {
			_, err := client.NewThreadClient(made.Thread.ID).SendMessage(running, text, &chat.SendMessageOptions{SenderDisplayName: "Ann"})
			if err != nil && !errors.Is(err, context.Canceled) {
				log.Print(err)
			}
			select {
			case <-running.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	printed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(screen, lines.Text())
		if strings.Contains(lines.Text(), text) {
			printed = true
			stop()
		}
	}
	if err := <-ended; err != nil && !(printed && errors.Is(err, context.Canceled)) {
		check(fmt.Errorf("the block returned: %w", err))
	}
	if !printed {
		check(fmt.Errorf("the block did not print %q", text))
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

var _ = communication.ErrNotFound // uses the package: Go forbids unused imports, and the block of code may not use it
