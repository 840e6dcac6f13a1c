//go:build ignore

// This program runs a block of code of a page: follow.py puts the block into the function block.
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

// text is the message that a block must print. The block sends it itself, or main sends it.
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
	go func() { // send messages until the block has printed one, because it is unknown when the block begins to listen
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

var _ = communication.ErrNotFound // uses the import if the block of the page does not
