package identity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
	"github.com/confab-chat/confab/sdk/internal/recorded"
)

// replay returns options whose transport responds with recorded traffic of the real service, in
// which ids and tokens are replaced with "sanitized". Only examples need such options; a program
// uses the real service.
func replay(name string) *identity.ClientOptions {
	traffic := recorded.MustLoad("testdata/recordings/identity-" + name + ".json")
	o := &identity.ClientOptions{}
	o.Transport = traffic
	o.APIVersion = traffic.Exchanges[0].Request.Query["api-version"]
	return o
}

func Example() {
	ctx := context.Background()
	ids, err := identity.NewClientFromConnectionString(connectionString, replay("2021-03-07-create-issue-revoke"))
	if err != nil {
		log.Fatal(err)
	}
	user, err := ids.CreateUser(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	token, err := ids.GetToken(ctx, user, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.RawID(), token)
	if err := ids.RevokeTokens(ctx, user); err != nil {
		log.Fatal(err)
	}
	// Output:
	// sanitized (redacted), expires on 2021-04-14T17:54:32Z
}

func ExampleNewClient() {
	key, err := communication.NewAccessKey("c2VjcmV0LWtleS1mb3ItdGVzdA==")
	if err != nil {
		log.Fatal(err)
	}
	ids, err := identity.NewClient("https://localhost:8443", key, replay("2022-10-01-js-create-user-empty-body"))
	if err != nil {
		log.Fatal(err)
	}
	user, err := ids.CreateUser(context.Background(), nil)
	fmt.Println(user, err)
	// Output: sanitized <nil>
}

func ExampleNewClientFromConnectionString() {
	_, err := identity.NewClientFromConnectionString("endpoint=https://localhost:8443/", nil)
	fmt.Println(err)
	// Output: identity client: connection string has no accesskey (accesskey=<base64>)
}

func ExampleNewClientWithTokenCredential() {
	// A program would use a credential of package azidentity; entra is a fake one.
	ids, err := identity.NewClientWithTokenCredential("https://contoso.communication.azure.com", entra{}, replay("2022-06-01-create-entra-auth-async"))
	if err != nil {
		log.Fatal(err)
	}
	user, err := ids.CreateUser(context.Background(), nil)
	fmt.Println(user, err)
	// Output: sanitized <nil>
}

func ExampleClient_CreateUser() {
	ids, err := identity.NewClientFromConnectionString(connectionString, replay("2021-03-07-create-delete"))
	if err != nil {
		log.Fatal(err)
	}
	user, err := ids.CreateUser(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(user.RawID())
	// Output: sanitized
}

func ExampleClient_CreateUserAndToken() {
	ids, err := identity.NewClientFromConnectionString(connectionString, replay("2022-06-01-create-with-token"))
	if err != nil {
		log.Fatal(err)
	}
	created, err := ids.CreateUserAndToken(context.Background(), []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.User, len(created.Token.Token) > 0, created.Token.ExpiresOn.UTC())
	// Output: sanitized true 2022-08-04 09:14:50.630433 +0000 UTC
}

func ExampleClient_GetToken() {
	ctx := context.Background()
	ids, err := identity.NewClientFromConnectionString(connectionString, replay("2022-10-01-js-expiry-59-400"))
	if err != nil {
		log.Fatal(err)
	}
	user, err := ids.CreateUser(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = ids.GetToken(ctx, user, []identity.Scope{identity.ScopeChat}, &identity.TokenOptions{ExpiresIn: 59 * time.Minute})
	var e *communication.Error
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Code, e.Message)
	}
	// Output: 400 ValidationError ExpiresInMinutes value 59 is invalid. Value must be within the [60, 1440] interval.
}

func ExampleClient_RevokeTokens() {
	ctx := context.Background()
	ids, err := identity.NewClientFromConnectionString(connectionString, replay("2022-10-01-js-create-token-revoke"))
	if err != nil {
		log.Fatal(err)
	}
	created, err := ids.CreateUserAndToken(ctx, []identity.Scope{identity.ScopeChat, identity.ScopeVoIP}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids.RevokeTokens(ctx, created.User))
	// Output: <nil>
}

// Delete a user of another resource, which the service refuses.
func ExampleClient_DeleteUser() {
	ids, err := identity.NewClientFromConnectionString(connectionString, replay("2022-10-01-js-delete-foreign-identity-401"))
	if err != nil {
		log.Fatal(err)
	}
	err = ids.DeleteUser(context.Background(), communication.NewUser("sanitized"))
	fmt.Println(err)
	fmt.Println(errors.Is(err, communication.ErrUnauthorized))
	// Output:
	// delete user: 401 IdentityNotOwned: Provided identity doesn't belong to the resource. (request YJ0Z0kOsLkaB/wnvS90UIQ.2.0)
	// true
}

func ExampleClient_NewTokenCredential() {
	ids, err := identity.NewClientFromConnectionString(connectionString, issuing(2))
	if err != nil {
		log.Fatal(err)
	}
	cred := ids.NewTokenCredential(communication.NewUser("sanitized"), nil)
	// In a program: client, err := chat.NewClient(endpoint, cred, nil)

	// A chat client calls GetToken for each request:
	token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cred, token.ExpiresOn.UTC())
	cred.Refused(token.Token)
	_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{})
	fmt.Println(err)
	// Output:
	// (redacted) 2100-01-01 00:00:00 +0000 UTC
	// <nil>
}

// issuing returns options whose transport responds with n made-up tokens. Recorded tokens cannot be
// used, because they are no JWTs.
func issuing(n int) *identity.ClientOptions {
	o := replay("2022-10-01-js-issue-foreign-identity-401")
	traffic := o.Transport.(*recorded.Transport)
	e := traffic.Exchanges[0]
	e.Request.Body = json.RawMessage(`{"scopes":["chat"]}`)
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":4102444800}`)) + ".c2ln"
	e.Response.Status = 200
	e.Response.Body = json.RawMessage(`{"token":"` + token + `","expiresOn":"2100-01-01T00:00:00+00:00"}`)
	traffic.Exchanges = nil
	for range n {
		traffic.Exchanges = append(traffic.Exchanges, e)
	}
	return o
}

func ExampleClient_Endpoint() {
	ids, err := identity.NewClientFromConnectionString("endpoint=https://localhost:8443/;accesskey=c2VjcmV0LWtleS1mb3ItdGVzdA==", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids.Endpoint())
	// Output: https://localhost:8443
}
