package communication_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
)

const key = "c2VjcmV0LWtleS1mb3ItdGVzdA=="

func ExampleParseRawID() {
	for _, raw := range []string{
		"8:acs:fa5c4fc3-a269-43e2-9eb6-0ca17b388993_0000000c-6219-6975-dc7b-2548220015a8",
		"4:+14255550123",
		"8:gcch:45ab2481-1c1c-4005-be24-0ffb879b1130",
		"from the future",
	} {
		id := communication.ParseRawID(raw)
		fmt.Println(id.Kind(), id.Cloud(), id.RawID() == raw)
	}
	// Output:
	// communicationUser public true
	// phoneNumber public true
	// microsoftTeamsUser gcch true
	// unknown public true
}

func ExampleIdentifier() {
	alice := communication.NewUser("8:acs:fa5c4fc3-a269-43e2-9eb6-0ca17b388993_0000000c-6219-6975-dc7b-2548220015a8")
	phone := communication.NewPhoneNumber("+14255550123")

	names := map[communication.Identifier]string{alice: "Alice", phone: "the office"}
	fmt.Println(names[communication.ParseRawID("4:+14255550123")])
	fmt.Println(alice == phone)
	// Output:
	// the office
	// false
}

func ExampleIdentifier_MarshalJSON() {
	text, err := json.Marshal(communication.NewTeamsUser("45ab2481-1c1c-4005-be24-0ffb879b1130", communication.CloudPublic))
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
	// Output:
	// {"kind":"microsoftTeamsUser","rawId":"8:orgid:45ab2481-1c1c-4005-be24-0ffb879b1130","microsoftTeamsUser":{"userId":"45ab2481-1c1c-4005-be24-0ffb879b1130","isAnonymous":false,"cloud":"public"}}
}

func ExampleSplitUserID() {
	resource, user, ok := communication.SplitUserID("8:acs:fa5c4fc3-a269-43e2-9eb6-0ca17b388993_0000000c-6219-6975-dc7b-2548220015a8")
	fmt.Println(resource, user, ok)

	_, _, ok = communication.SplitUserID("8:acs:invalidUserId")
	fmt.Println(ok)
	// Output:
	// fa5c4fc3-a269-43e2-9eb6-0ca17b388993 0000000c-6219-6975-dc7b-2548220015a8 true
	// false
}

func ExampleParseConnectionString() {
	cs, err := communication.ParseConnectionString("endpoint=https://localhost:8443/;accesskey=" + key)
	if err != nil {
		panic(err)
	}
	fmt.Println(cs.Endpoint())
	fmt.Println(cs) // never shows the key
	fmt.Println(cs.Text())

	_, err = communication.ParseConnectionString("endpoint=https://localhost:8443/")
	fmt.Println(err)
	// Output:
	// https://localhost:8443
	// endpoint=https://localhost:8443/;accesskey=(redacted)
	// endpoint=https://localhost:8443/;accesskey=c2VjcmV0LWtleS1mb3ItdGVzdA==
	// connection string has no accesskey (accesskey=<base64>)
}

func ExampleAccessKey_Sign() {
	k, err := communication.NewAccessKey(key)
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequest("POST", "https://localhost:18443/identities?api-version=2023-10-01", nil)
	if err != nil {
		panic(err)
	}
	now := time.Date(2026, 11, 21, 20, 31, 40, 0, time.UTC) // usually time.Now()
	if err := k.Sign(req, now); err != nil {
		panic(err)
	}
	fmt.Println(req.Header.Get("x-ms-date"))
	fmt.Println(req.Header.Get("Authorization"))
	// Output:
	// Sat, 21 Nov 2026 20:31:40 GMT
	// HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=r+kdsugSR+FImVN/3GD/vBPlncIJ9hVP4/FyDp92uU8=
}

func ExampleNewTokenCredential() {
	// A token is a JWT. This example token expires in the year 2100.
	cred, err := communication.NewTokenCredential("e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln")
	if err != nil {
		panic(err)
	}
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(cred, token.ExpiresOn.UTC())
	// Output: (redacted) 2100-01-01 00:00:00 +0000 UTC
}

func ExampleNewRefreshingTokenCredential() {
	// In a program, the function fetch requests a token from the program's own server, which knows
	// the user.
	fetch := func(ctx context.Context) (string, error) {
		fmt.Println("asked for a token")
		return "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln", nil
	}
	cred, err := communication.NewRefreshingTokenCredential(fetch, nil)
	if err != nil {
		panic(err)
	}
	// client, err := chat.NewClient(endpoint, cred, nil)

	for range 2 { // a client calls GetToken before each request
		if _, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{}); err != nil {
			panic(err)
		}
	}
	// Output: asked for a token
}

func ExampleAccessKey_Rotate() {
	key, err := communication.NewAccessKey("Zmlyc3Q=")
	if err != nil {
		panic(err)
	}
	inUse := key // a copy of the key, such as the copy that a client holds
	if err := key.Rotate("c2Vjb25k"); err != nil {
		panic(err)
	}
	fmt.Println(inUse.Text())
	// Output: c2Vjb25k
}

func ExampleError() {
	// In a program, a method of a client returns an error such as this one.
	var err error = &communication.Error{Op: "send message", StatusCode: 429, Code: "TooManyRequests", Message: "Rate limit exceeded.", RetryAfter: 7 * time.Second}

	var e *communication.Error
	if errors.Is(err, communication.ErrThrottled) && errors.As(err, &e) {
		fmt.Println("again in", e.RetryAfter)
	}
	fmt.Println(err)
	// Output:
	// again in 7s
	// send message: 429 TooManyRequests: Rate limit exceeded. (retry after 7s)
}
